"""The mail of the runs that one session holds: what is to be sent to its worker, and how far mail has come there.

A worker is always sent the mail of a run after the number that it has said last. What a commit of this replica had at
hand goes out as it is, everything else is read from the rows when a poll takes it. So a notice that is lost, doubled
or early costs one look at the rows, and never parks the mail behind it. In memory only: the rows say what there is.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from holdfast_coordinator.domain.events import MailArrived
from holdfast_coordinator.domain.mail import MailRow, body_bytes

AT_HAND_BYTES_MAX = 1024 * 1024
"""How much mail of one session is kept in memory for its next poll; beyond it the rows are read."""
PIECE_BYTES = 200


@dataclass(slots=True)
class RunMail:
    """Mail of one leased run, in order."""

    run_id: str
    epoch: int
    pieces: list[MailRow]


@dataclass(slots=True)
class UnreadMail:
    """A leased run whose mail after a number is to be read from the rows."""

    run_id: str
    epoch: int
    after: int


@dataclass(slots=True)
class _Waiting:
    """Mail of one run that is to be sent. at_hand: None when it has to be read. from_number: see `HeldMail.waits`."""

    epoch: int
    at_hand: list[MailRow] | None
    from_number: int = 0


class HeldMail:
    """See the module."""

    __slots__ = ("_bytes", "_seen", "_waiting")

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._bytes = 0

    @property
    def is_waiting(self) -> bool:
        """True when there is mail to be sent."""
        return bool(self._waiting)

    def seen(self, run_id: str) -> int:
        """The number up to which the worker has all mail of a run, as it said last; 0 when it said nothing."""
        return self._seen.get(run_id, 0)

    def said(self, numbers: Mapping[str, int]) -> None:
        """The worker says up to which numbers it has all mail; its last word counts, also when it is a lower one."""
        self._seen.update(numbers)

    def arrived(self, event: MailArrived) -> None:
        """A commit of this replica put mail into a run, and has it at hand."""
        waiting = self._waiting.get(event.run_id)
        if waiting is None:
            waiting = self._waiting[event.run_id] = _Waiting(event.epoch, [])
        if waiting.at_hand is None:
            return
        waiting.at_hand.append(event.mail)
        self._bytes += _size(event.mail)
        if self._bytes > AT_HAND_BYTES_MAX:
            self.waits(event.run_id, event.epoch)

    def waits(self, run_id: str, epoch: int, *, from_number: int = 0) -> None:
        """The rows may have mail that the worker has not.

        from_number: only if the worker says that it has all mail up to here. Else what was sent has not come, and is
        sent again after the next look at the rows, not at once: a worker that takes no mail would be sent the same
        again and again.
        """
        before = self._waiting.get(run_id)
        if before is not None and before.at_hand:
            self._bytes -= sum(map(_size, before.at_hand))
        self._waiting[run_id] = _Waiting(epoch, None, from_number)

    def take(self) -> tuple[list[RunMail], list[UnreadMail]]:
        """What is to be sent now: what is at hand, and what is to be read."""
        at_hand, unread = [], []
        for run_id, waiting in self._waiting.items():
            seen = self.seen(run_id)
            if waiting.at_hand is None:
                if seen >= waiting.from_number:
                    unread.append(UnreadMail(run_id, waiting.epoch, seen))
            elif pieces := [mail for mail in waiting.at_hand if mail.number > seen]:
                at_hand.append(RunMail(run_id, waiting.epoch, pieces))
        self._waiting.clear()
        self._bytes = 0
        return at_hand, unread

    def forget(self, run_id: str) -> None:
        """The session holds the run no longer, or under a new lease, which brings what waits."""
        self._seen.pop(run_id, None)
        waiting = self._waiting.pop(run_id, None)
        if waiting is not None and waiting.at_hand:
            self._bytes -= sum(map(_size, waiting.at_hand))


def _size(mail: MailRow) -> int:
    return PIECE_BYTES + body_bytes(mail.body)
