"""Runs as plain JSON values, for `--output json`. Values of users are shown as JSON."""

from datetime import UTC, datetime, timedelta
from typing import Any

from holdfast.channel.run_records import TraceSpan
from holdfast.client import RunDescription, RunReport
from holdfast.replay.files import plain

_LISTED = (
    "run_id",
    "id",
    "workflow",
    "status",
    "reason",
    "current_step",
    "progress",
    "queue",
    "created_at",
    "updated_at",
    "closed_at",
    "metadata",
    "origin_run_id",
    "parent_run_id",
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN = (
    "args",
    "kwargs",
    "result",
    "error",
    "failure",
    "session_id",
    "journal_length",
    "losses",
    "undelivered",
    "warnings",
)


def listed_run(run: RunDescription) -> dict[str, Any]:
    """A run in a listing."""
    return {name: plain(getattr(run, name)) for name in _LISTED}


def shown_run(run: RunDescription) -> dict[str, Any]:
    """All that is known of a run."""
    return {name: plain(getattr(run, name)) for name in (*_LISTED, *_SHOWN)}


def run_report(report: RunReport) -> dict[str, Any]:
    """A report, with the error of each task as text beside its failure."""
    tasks = [{**plain(task), "error": task.error} for task in report.tasks]
    return {**plain(report), "tasks": tasks}


def trace_span(span: TraceSpan) -> dict[str, Any]:
    """A span of a run; ids in hex, times to the microsecond."""
    return {
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent_span_id": span.parent_id.hex() or None,
        "name": span.name,
        "kind": span.kind,
        "started_at": _instant(span.start_ns),
        "ended_at": _instant(span.end_ns),
        "status": span.status,
        "attributes": dict(span.attributes),
        "links": [
            {"trace_id": link.trace_id.hex(), "span_id": link.span_id.hex(), "relation": link.relation}
            for link in span.links
        ],
    }


def _instant(since_epoch_ns: int) -> str:
    return (_EPOCH + timedelta(microseconds=since_epoch_ns // 1_000)).isoformat()
