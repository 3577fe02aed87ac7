"""The entries of one run that are not committed yet, and the transition that carries some of them. Pure.

It numbers transitions, splits what is too large for one, and keeps the length of the committed journal.
"""

from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from itertools import accumulate

from holdfast.channel.leases import Lease, Transition
from holdfast.journal import Entry, MailConsumed
from holdfast.limits import Limits, journal_problem
from holdfast.statuses import Then

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_ROOM_BYTES = 64 * 1024
"""What a transition has besides its entries, generously."""


class PendingEntries:
    """length: of the committed journal. last_at: of the newest entry, committed or not. flight_bytes: an upper
    estimate of the size of the transition that was taken last. journal_entries, journal_bytes: of the whole journal,
    with what is not committed yet; bytes by an upper estimate."""

    __slots__ = (
        "_limits",
        "_sizes",
        "_transition_id",
        "entries",
        "flight",
        "flight_bytes",
        "journal_bytes",
        "journal_entries",
        "last_at",
        "length",
    )

    def __init__(self, limits: Limits) -> None:
        self.entries: list[Entry] = []
        self.flight: Transition | None = None
        self.flight_bytes = 0
        self.length = 0
        self.journal_entries = 0
        self.journal_bytes = 0
        self.last_at = _LONG_AGO
        self._sizes: list[int] = []
        self._transition_id = 0
        self._limits = limits

    def begin(self, lease: Lease) -> None:
        """Starts over under a new lease."""
        assert self.flight is None, lease.run_id
        self.clear()
        self.length = self.journal_entries = lease.journal_length
        # Unique within the run and not only within the epoch: no answer can be taken for that of another.
        self._transition_id = lease.epoch << 24

    def append(self, entry: Entry, *, mail_bytes: int = 0) -> None:
        """Adds an entry; its `at` is never before the one before it.

        mail_bytes: what the coordinator adds to the entry, which has to fit into the journal's row too.
        """
        size = entry.size_bytes + mail_bytes
        self.entries.append(entry)
        self._sizes.append(size)
        self.journal_entries += 1
        self.journal_bytes += size
        self.last_at = entry.at

    def replayed(self, entry: Entry) -> None:
        """An entry of the committed journal, which is read again."""
        size = entry.size_bytes
        if isinstance(entry, MailConsumed) and entry.mail is not None:
            size += entry.mail.body.size_bytes
        self.journal_bytes += size
        self.last_at = entry.at

    @property
    def is_long(self) -> bool:
        """True when there is something to say of the length of the journal."""
        limits = self._limits
        return self.journal_entries >= limits.journal_entries_warn or self.journal_bytes >= limits.journal_bytes_warn

    @property
    def problem(self) -> str:
        """Which limit of journals this one has come to; "" for none."""
        limits = self._limits
        return journal_problem(self.journal_entries, self.journal_bytes, limits.journal_entries, limits.journal_bytes)

    def take_back(self, kept: int) -> list[Entry]:
        """Removes and returns all but the first `kept` entries."""
        removed = self.entries[kept:]
        self.journal_entries -= len(removed)
        self.journal_bytes -= sum(self._sizes[kept:])
        del self.entries[kept:], self._sizes[kept:]
        return removed

    def clear(self) -> None:
        """Forgets all that was not sent."""
        self.journal_entries -= len(self.entries)
        self.journal_bytes -= sum(self._sizes)
        self.entries.clear()
        self._sizes.clear()

    def take(
        self,
        lease: Lease,
        then: Then,
        *,
        mail_seen: int,
        attempt_deadline: timedelta | None,
        waits: tuple[str, ...],
    ) -> Transition:
        """The transition to send now. It ends with `then`, unless some entries have to go with the next one."""
        count = self._fit()
        if count == len(self.entries):
            entries = tuple(self.entries)
            self.entries.clear()
            self._sizes.clear()
        else:
            entries, then, waits = tuple(self.entries[:count]), Then.CONTINUE, ()
            del self.entries[:count], self._sizes[:count]
        self._transition_id += 1
        self.flight = Transition(
            lease.run_id,
            lease.epoch,
            self.length,
            self._transition_id,
            entries,
            mail_seen,
            then,
            attempt_deadline,
            waits,
        )
        return self.flight

    def _fit(self) -> int:
        """How many entries fit into one transition; notes how large they are."""
        most = self._limits.transition_bytes - _ROOM_BYTES
        fitting = len(self._sizes)
        total = sum(self._sizes)
        if total > most:
            fitting = max(bisect_right(list(accumulate(self._sizes)), most), 1)
            total = sum(self._sizes[:fitting])
        self.flight_bytes = total
        return fitting

    def answered(self, *, committed: bool) -> Transition:
        """Takes note of the answer to the transition in flight, and returns it."""
        flight = self.flight
        assert flight is not None
        self.flight = None
        if committed:
            self.length += len(flight.entries)
        return flight
