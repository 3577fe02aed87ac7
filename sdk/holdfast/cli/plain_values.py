"""Runs and journals as plain JSON values, for `--output json`. Values of users are shown as JSON."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum
from typing import Any

from holdfast.channel.run_records import TraceSpan
from holdfast.client import HistoryEntry, RunDescription, RunReport
from holdfast.client.descriptions import shown_value
from holdfast.codec import Codec
from holdfast.durations import format_duration
from holdfast.journal import Arguments, Payload

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
_SHOWN = ("args", "kwargs", "result", "error", "failure", "session_id", "journal_length", "losses", "undelivered")


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


def history_entry(entry: HistoryEntry) -> dict[str, Any]:
    """An entry of a journal: number, type and at first, then what its kind has."""
    body: dict[str, Any] = plain(entry.entry)
    at = body.pop("at")
    return {"seq": entry.number, "type": entry.type, "at": at, "epoch": entry.epoch, **body}


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


def plain(value: Any) -> Any:
    """Records as objects, times as ISO texts, spans as "90s", enums as their lower-case names."""
    match value:
        case Payload():
            return shown_value(value, _codec)
        case Arguments():
            return {"args": plain(value.positional), "kwargs": plain(value.named)}
        case datetime():
            return value.isoformat()
        case timedelta():
            return format_duration(value)
        case StrEnum():
            return value.value
        case Enum():
            return value.name.lower()
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    return value


_codec = Codec()
