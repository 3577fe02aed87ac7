"""Reads what the outbox carries to children: starts from ChildStarted entries, what they are sent from MailSent."""

from holdfast.api.v1 import journal_pb2
from holdfast.ids import child_run_id
from holdfast.statuses import ClosePolicy
from holdfast.wire import time_from
from holdfast_coordinator.domain.commands import ChildStart, DeliverToChild, StartRun
from holdfast_coordinator.domain.mail import SignalMail
from holdfast_coordinator.domain.rows import AlarmRow, RunRow

from .content_hashes import call_of_arguments


def child_start(alarm: AlarmRow, parent: RunRow) -> ChildStart:
    """The start of a child: in its parent's namespace and, unless it names another, queue."""
    entry = journal_pb2.Entry.FromString(alarm.body)
    child = entry.child_started
    arguments = child.arguments.SerializeToString(deterministic=True)
    asked_at = time_from(entry.at)
    start = StartRun(
        run_id=child.run_id,
        namespace=parent.namespace,
        workflow=child.workflow,
        queue=child.queue or parent.queue,
        arguments=arguments,
        call_digest=call_of_arguments(child.arguments).digest(),
        id=child.id or None,
        max_duration=child.max_duration.ToTimedelta() if child.HasField("max_duration") else None,
        asked_at=asked_at,
        parent_run_id=parent.run_id,
        parent_number=child.number,
        depth=parent.depth + 1,
        outbox=alarm,
    )
    return ChildStart(start, asked_at, ClosePolicy(child.close_policy or ClosePolicy.CANCEL))


def mail_to_child(alarm: AlarmRow) -> tuple[DeliverToChild, int]:
    """What a parent has sent its child, and the number of that child."""
    sent = journal_pb2.Entry.FromString(alarm.body).mail_sent
    payload = sent.payload.SerializeToString() if sent.HasField("payload") else b""
    signal = SignalMail(sent.signal, payload) if sent.signal else None
    child = child_run_id(alarm.run_id, sent.number)
    return DeliverToChild(child, alarm, sent.after, signal, sent.reason), sent.number
