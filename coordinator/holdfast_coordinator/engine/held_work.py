"""What the database says of the work that sessions of this replica hold: mail they have not seen, leases that ended.

Whoever commits may be another replica, or this one before it was restarted, or a commit whose answer was lost. So the
rows are asked once a second, and at once for what the doorbell names; what this replica commits itself needs neither.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from holdfast.ids import cell_of, is_run_id
from holdfast_coordinator.domain.events import LeaseEnded
from holdfast_coordinator.domain.mail import MailRow, body_bytes
from holdfast_coordinator.store.port import MAIL_PIECES_MAX, ClaimHeld, HeldNews, LeaseHeld

from .attachments import Attachment, Handed
from .cells import Cell, Cells
from .held_mail import RunMail, UnreadMail
from .matcher import Matcher

HELD_PAGE = 1_000
"""How many held runs and attempts one round trip asks about."""
MAIL_OFFERED_BYTES = 1024 * 1024
"""How much mail is read for one poll answer; one piece always is, and what is left goes with the next answers."""

SessionRuns = Mapping[str, Collection[str]]
"""Sessions, each with runs of which it holds the lease or attempts."""


@dataclass(slots=True)
class _Held:
    leases: list[LeaseHeld] = field(default_factory=list)
    claims: list[ClaimHeld] = field(default_factory=list)


class HeldWork:
    """See the module."""

    def __init__(self, cells: Cells, matcher: Matcher) -> None:
        self._cells = cells
        self._matcher = matcher

    async def look(self, only: SessionRuns | None = None) -> None:
        """Compares what sessions here hold with the rows, and hands them the differences. Raises StoreError."""
        for cell, held in self._by_cell(only):
            for start in range(0, max(len(held.leases), len(held.claims)), HELD_PAGE):
                page = slice(start, start + HELD_PAGE)
                self._take(await cell.store.loops.news_of_held(held.leases[page], held.claims[page]))

    def _by_cell(self, only: SessionRuns | None) -> list[tuple[Cell, _Held]]:
        held = {cell.name: _Held() for cell in self._cells}
        for attachment in self._attachments(only):
            session_id, mail = attachment.session_id, attachment.mail
            runs = None if only is None else only[session_id]
            for run_id, number, epoch in attachment.granted:
                # What a worker says that it holds may be no run id; one that is none must not hold up the others.
                of_cell = held.get(cell_of(run_id)) if is_run_id(run_id) else None
                if of_cell is None or (runs is not None and run_id not in runs):
                    continue
                if number:
                    of_cell.claims.append(ClaimHeld(session_id, run_id, number, epoch))
                else:
                    of_cell.leases.append(LeaseHeld(session_id, run_id, epoch, mail.seen(run_id)))
        return [(cell, held[cell.name]) for cell in self._cells]

    def _attachments(self, only: SessionRuns | None) -> Iterator[Attachment]:
        if only is None:
            yield from self._matcher.sessions()
            return
        for session_id in only:
            if (attachment := self._matcher.attachment(session_id)) is not None:
                yield attachment

    def _take(self, news: HeldNews) -> None:
        for lease in news.with_mail:
            if (attachment := self._matcher.attachment(lease.session_id)) is not None:
                attachment.mail_waits(lease.run_id, lease.epoch)
        for ended in news.leases_ended:
            self._end(LeaseEnded(ended.session_id, ended.run_id, 0, ended.epoch))
        for claim, is_cancelled in news.claims_ended:
            self._end(LeaseEnded(claim.session_id, claim.run_id, claim.number, claim.epoch, is_cancelled))

    def _end(self, event: LeaseEnded) -> None:
        attachment = self._matcher.attachment(event.session_id)
        # The session may have given it back while the rows were asked.
        if attachment is not None and (event.run_id, event.number, event.epoch) in attachment.granted:
            attachment.hand_end(event)

    async def read_mail(self, attachment: Attachment, handed: Handed) -> None:
        """Reads the mail that a poll answer is to bring and that was not at hand. Raises StoreError."""
        for cell, wanted in self._unread_by_cell(handed.unread):
            pages: dict[str, list[MailRow]] = {}
            rows = await cell.store.mail_of([(one.run_id, one.after) for one in wanted], MAIL_OFFERED_BYTES)
            for mail in rows:
                pages.setdefault(mail.run_id, []).append(mail)
            is_cut = sum(body_bytes(mail.body) for mail in rows) > MAIL_OFFERED_BYTES
            for one in wanted:
                pieces = pages.get(one.run_id, [])
                if pieces:
                    handed.mail.append(RunMail(one.run_id, one.epoch, pieces))
                if is_cut or len(pieces) == MAIL_PIECES_MAX:
                    attachment.mail_waits(one.run_id, one.epoch, from_number=pieces[-1].number if pieces else one.after)
        handed.unread = []

    def _unread_by_cell(self, unread: Sequence[UnreadMail]) -> list[tuple[Cell, list[UnreadMail]]]:
        return [
            (cell, wanted)
            for cell in self._cells
            if (wanted := [one for one in unread if cell_of(one.run_id) == cell.name])
        ]
