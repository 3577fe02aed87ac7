"""One bare and one full record of every kind of entry and mail, made of the types of their fields."""

from collections.abc import Iterator
from dataclasses import MISSING, fields
from datetime import UTC, datetime, timedelta
from typing import Any, get_args, get_type_hints

from holdfast import journal as j
from holdfast.backoff import Exponential
from holdfast.statuses import AttemptOutcome, ClosePolicy, Placement, RunStatus

AT = datetime(2026, 5, 4, 3, 2, 1, 123_456, UTC)
PAYLOAD = j.Payload(b'{"a":1}', "zstd", b"\x01\x02")
ATTEMPT = j.AttemptRecord(
    2, AttemptOutcome.FAILED_RETRYABLE, AT, AT, AT, AT, "ses", "b1", j.Failure("E", "no"), epoch=4
)
_SAMPLES: dict[Any, Any] = {
    int: 7,
    str: "text",
    bool: True,
    datetime: AT,
    timedelta: timedelta(days=1, seconds=2, microseconds=3),
    j.Payload: PAYLOAD,
    j.Arguments: j.Arguments((PAYLOAD,), {"b": PAYLOAD, "a": j.Payload(b"1")}),
    j.Failure: j.Failure("ValueError", "no", "m:C", "tb", True, PAYLOAD, j.StepOrigin("s", 3, 2), "r", j.Failure("K")),
    j.AttemptRecord: ATTEMPT,
    tuple[j.AttemptRecord, ...]: (ATTEMPT, ATTEMPT),
    j.RetryPolicy: j.RetryPolicy(3, Exponential(2.0, timedelta(minutes=1), 0.5, 1)),
    j.Mail: j.Mail(9, AT, j.Signal("go", PAYLOAD), j.TraceContext("00-a", "b", "c")),
    tuple[j.Mail, ...]: (j.Mail(9, AT, j.Signal("go", PAYLOAD), j.TraceContext("00-a", "b", "c")),),
    Placement: Placement.QUEUED,
    ClosePolicy: ClosePolicy.ABANDON,
    RunStatus: RunStatus.CANCELLED,
}
_ONE_OF = {"until": "delay", "failure": "result"}
"""Of these two fields of one kind a record has one."""


def samples(record: type, *, full: bool) -> Any:
    """A record with a value in every field, or with the fewest that it can have."""
    hints = get_type_hints(record)
    values = {}
    for field in fields(record):
        is_optional = field.default is not MISSING
        if is_optional and (not full or (_ONE_OF.get(field.name) in hints and record is not j.RunClosed)):
            continue
        hint = next((one for one in get_args(hints[field.name]) if one in _SAMPLES), hints[field.name])
        values[field.name] = _SAMPLES[hints[field.name] if hints[field.name] in _SAMPLES else hint]
    return record(**values)


def all_samples() -> Iterator[tuple[str, Any]]:
    """Named records: of entries and, as mail, of what mail says."""
    for record in get_args(j.Entry):
        for full in (False, True):
            yield f"{record.__name__} {'full' if full else 'bare'}", samples(record, full=full)
    for record in get_args(j.MailBody):
        for full in (False, True):
            body = samples(record, full=full)
            yield f"{record.__name__} {'full' if full else 'bare'}", j.Mail(5, AT, body)
