"""What a session gets when it polls: granted work, mail, the ends of leases, and the records that go with them.

What does not come through, since the answer has no room for it or the worker has gone, is kept for its next poll.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from holdfast_coordinator.domain.rows import ProgressRow, RunRow, Side

from .attachments import NO_MAIL, Attachment, Handed, Held
from .background_tasks import set_within
from .cells import Cells
from .database_clock import boot_seconds
from .held_work import HeldWork
from .matcher import Matcher
from .run_rows import Records
from .sessions import Sessions

POLL_BYTES_MAX = 4 * 1024 * 1024
"""How much an answer to a poll brings; the rest comes with the next one."""


@dataclass(slots=True)
class Delivery:
    """What one poll answer brings, with the records of the leased runs, and of traced runs of queued attempts.

    progress: what attempts of the leased runs have saved, by run.
    """

    handed: Handed
    records: dict[str, RunRow] = field(default_factory=dict)
    progress: dict[str, list[ProgressRow]] = field(default_factory=dict)


class Polls:
    """See the module. is_traced: whether queued attempts are given the records of their runs."""

    def __init__(
        self, cells: Cells, sessions: Sessions, matcher: Matcher, held_work: HeldWork, records: Records, *,
        is_traced: bool,
    ) -> None:  # fmt: skip
        self._cells = cells
        self._sessions = sessions
        self._matcher = matcher
        self._held_work = held_work
        self._records = records
        self._is_traced = is_traced

    async def wait(
        self, session_id: str, attach_no: int, *, msg_no: int, free_slots: int, free_runs: int,
        received: Sequence[Held], mail_seen: Mapping[Held, int] = NO_MAIL,
    ) -> Delivery:  # fmt: skip
        """Waits for work for a session. received, mail_seen: what has come. Raises ReattachRequired."""
        attachment = self._sessions.attached(session_id, attach_no)
        if msg_no <= attachment.msg_no:
            return Delivery(Handed())  # an older poll that arrives late
        if mail_seen:
            attachment.mail_seen(mail_seen)
        attachment.begin_poll(msg_no=msg_no, free_slots=free_slots, free_runs=free_runs, received=received)
        try:
            self._matcher.has_room(attachment)
            if not attachment.news.is_set():
                await set_within(attachment.news, self._sessions.policy.poll_wait.total_seconds())
        finally:
            attachment.end_poll(msg_no, boot_seconds())
        self._sessions.attached(session_id, attach_no)
        if attachment.msg_no != msg_no:
            return Delivery(Handed())  # a newer poll takes what there is
        handed = attachment.take()
        try:
            if handed.unread:
                await self._held_work.read_mail(attachment, handed)
            wanted = [lease.record or lease.run.run_id for lease in handed.leases]
            if self._is_traced:
                wanted += [claim.task.run_id for claim in handed.tasks]
            records, is_cut = await self._records.first_of(wanted, POLL_BYTES_MAX)
            if is_cut:
                self._leave_for_next_poll(attachment, handed, records)
            return Delivery(handed, records, await self._progress_of(handed))
        except BaseException:  # also a worker that has gone: it polls again
            attachment.put_back(handed)
            raise

    async def _progress_of(self, handed: Handed) -> dict[str, list[ProgressRow]]:
        """Nobody but the new holders can save more for these runs: what is read now is the last."""
        progress: dict[str, list[ProgressRow]] = {}
        saved = [lease.run.run_id for lease in handed.leases if Side.PROGRESS in lease.run.side]
        for cell, run_ids in self._cells.by_cell(saved) if saved else ():
            for row in await cell.store.progress_of(run_ids):
                progress.setdefault(row.run_id, []).append(row)
        return progress

    def hand_later(self, session_id: str, attach_no: int, later: Handed) -> None:
        """Keeps for the next poll answer of a session what had no room in this one."""
        attachment = self._matcher.attachment(session_id)
        if attachment is not None and attachment.attach_no == attach_no:
            attachment.put_back(later)

    def _leave_for_next_poll(self, attachment: Attachment, handed: Handed, records: Mapping[str, RunRow]) -> None:
        """Takes out of an answer the runs whose arguments were not read for it, because the others are large."""
        later = Handed()
        later.leases = [lease for lease in handed.leases if lease.run.run_id not in records]
        handed.leases = [lease for lease in handed.leases if lease.run.run_id in records]
        if self._is_traced:
            later.tasks = [claim for claim in handed.tasks if claim.task.run_id not in records]
            handed.tasks = [claim for claim in handed.tasks if claim.task.run_id in records]
        attachment.put_back(later)
