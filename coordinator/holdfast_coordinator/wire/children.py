"""Reads the start of a child run from the ChildStarted entry that the outbox carries."""

from holdfast.api.v1 import journal_pb2
from holdfast.statuses import ClosePolicy
from holdfast.wire import time_from
from holdfast_coordinator.domain.commands import ChildStart, StartRun
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
        outbox=alarm,
    )
    return ChildStart(start, asked_at, ClosePolicy(child.close_policy or ClosePolicy.CANCEL))
