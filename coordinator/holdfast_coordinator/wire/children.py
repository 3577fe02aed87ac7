"""Reads the start of a child run from the ChildStarted entry that the outbox carries."""

import hashlib

from holdfast.api.v1 import journal_pb2
from holdfast_coordinator.domain.commands import StartRun
from holdfast_coordinator.domain.rows import AlarmRow, RunRecord


def child_start(alarm: AlarmRow, parent: RunRecord) -> StartRun:
    """The start of a child: in its parent's namespace and, unless it names another, queue."""
    child = journal_pb2.ChildStarted.FromString(alarm.body)
    arguments = child.arguments.SerializeToString(deterministic=True)
    return StartRun(
        run_id=child.run_id,
        namespace=parent.namespace,
        workflow=child.workflow,
        queue=child.queue or parent.queue,
        arguments=arguments,
        arguments_hash=hashlib.sha256(arguments).digest(),
        id=child.id or None,
        max_duration=child.max_duration.ToTimedelta() if child.HasField("max_duration") else None,
        trace=parent.trace,
        parent_run_id=parent.run_id,
        parent_number=child.number,
        outbox=alarm,
    )
