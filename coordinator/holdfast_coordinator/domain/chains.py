"""Runs that continue as new: one closes and the next begins, in one transaction, and nothing that came is lost.

The runs of a chain have one business id, one parent, one deadline, and the answers to requests in common.
"""

from holdfast.errors import HoldfastError
from holdfast.ids import successor_run_id
from holdfast.journal import RunStarted
from holdfast.statuses import RunStatus

from .commands import CommitTransition
from .mail import MailKind, MailRow
from .rows import KeyRow, OpenRun, RunRow, Side
from .states import RunTrigger
from .workspace import Workspace

ID = "id"
"""The kind of the key of a business id, as in `starts`."""
_TAKEN_ALONG = frozenset({MailKind.SIGNAL, MailKind.CANCEL})
"""What was sent to the run by others. All else answers something that only the closing run has asked for."""


class RunWentOn(HoldfastError):
    """The run has continued as new: what was sent to it is for the run that goes on. The engine sends it there."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id} has continued as {successor_run_id(run_id)}")
        self.run_id = run_id


def went_on(space: Workspace, run_id: str) -> RunWentOn | None:
    """The answer to what is sent to a run that has continued as new; None for any other."""
    result = space.results.get(run_id)
    return RunWentOn(run_id) if result is not None and result.status is RunStatus.CONTINUED_AS_NEW else None


def keys_passed_on(asked: CommitTransition) -> list[KeyRow]:
    """The business id of a run that continues as new, for the run that goes on.

    It stands for the call that began the chain: who starts that again joins the chain, whatever it goes on with.
    """
    origin, successor = asked.origin, asked.successor
    if successor is None or origin is None or origin.id is None:
        return []
    return [KeyRow(origin.namespace, ID, origin.id, successor.run_id, origin.call_digest, origin.workflow)]


def mail_taken_along(space: Workspace, run: OpenRun) -> list[MailRow]:
    """What has come for a run that continues as new and that it has not seen, taken out of its mail."""
    waiting = space.mail.get(run.run_id, {})
    taken = [mail for mail in waiting.values() if mail.kind in _TAKEN_ALONG]
    for mail in taken:
        del waiting[mail.number]
    return taken


def go_on(space: Workspace, run: OpenRun, asked: CommitTransition, mail: list[MailRow]) -> None:
    """Makes the run that goes on, when the one before has closed. mail: that it takes along."""
    origin, successor, now = asked.origin, asked.successor, space.now
    assert origin is not None, asked
    assert successor is not None, asked
    record = RunRow(
        run_id=successor.run_id,
        namespace=origin.namespace,
        workflow=origin.workflow,
        queue=origin.queue,
        created_at=now,
        arguments=successor.arguments,
        call_digest=successor.call_digest,
        id=origin.id,
        priority=origin.priority,
        deadline_at=origin.deadline_at,
        metadata={**origin.metadata, **space.changes.metadata.get(run.run_id, {})},
        trace=asked.trace,
        parent_run_id=origin.parent_run_id,
        parent_number=origin.parent_number,
        depth=origin.depth,
        chain_run_id=origin.chain_run_id or origin.run_id,
    )
    new = space.add_run(record, asked.traced)
    new.side |= run.side & Side.REQUESTS
    # Its worker has the code at hand, and most often room.
    new.build, new.sticky = run.build, asked.session_id
    space.append(new, [RunStarted(now, record.workflow, continued_run_id=run.run_id)], 1)
    for arrived_at, body in successor.signals:
        space.add_mail(MailRow(new.run_id, new.mail_next, MailKind.SIGNAL, arrived_at, body))
        new.mail_next += 1
    for piece in mail:
        moved = MailRow(new.run_id, new.mail_next, piece.kind, piece.arrived_at, piece.body, piece.trace)
        new.mail_next += 1
        space.move_mail(piece, moved)
    for row in keys_passed_on(asked):
        holder = space.known.keys.get((row.namespace, row.kind, row.key))
        if holder is not None and holder.run_id == run.run_id:
            row.call_digest, row.signature_digest = holder.call_digest, holder.signature_digest
            space.changes.keys.append(row)
    space.make_ready(new, RunTrigger.WAKE)
