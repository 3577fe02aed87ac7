"""Journals written by hand: entries as functions of the second in which they happen, and the rows that hold them."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.api.v1 import journal_pb2, value_pb2
from holdfast.statuses import AttemptOutcome, ClosePolicy, RunStatus
from holdfast.traces import SpanContext
from holdfast_coordinator.telemetry.run_spans import DEFAULT_RULES, RunSpanBuilder
from holdfast_coordinator.telemetry.spans import RunFacts, Span, SpanRules

Entry = journal_pb2.Entry
Record = journal_pb2.AttemptRecord

T0 = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
"""When the runs of these tests were created."""

RUN = "run_0001hv3k9m2q8w0000000000000001"
TRACE = SpanContext(bytes(range(16)), bytes(range(8, 16)))


def facts(**changed: Any) -> RunFacts:
    """What is stored of a run of the workflow `order`."""
    values: dict[str, Any] = {
        "run_id": RUN, "namespace": "shop", "workflow": "order", "created_at": T0, "trace": TRACE, "queue": "default",
        "input_bytes": 12,
    }  # fmt: skip
    return RunFacts(**{**values, **changed})


def rows(*transitions: tuple[int, Sequence[Entry]]) -> list[journal_pb2.JournalRow]:
    """The rows of transitions (epoch, entries); a journal begins with RunStarted."""
    seq, made = 0, []
    for epoch, entries in transitions:
        seq += len(entries)
        made.append(journal_pb2.JournalRow(seq=seq, epoch=epoch, entries=entries))
    return made


def spans_of(facts: RunFacts, rows: Iterable[journal_pb2.JournalRow], rules: SpanRules = DEFAULT_RULES) -> list[Span]:
    """All finished spans of a journal, from its first row on."""
    trace = RunSpanBuilder(facts, rules)
    return [span for row in rows for span in trace.feed(row)]


def started(**changed: Any) -> tuple[int, list[Entry]]:
    """The first row of every journal."""
    return 0, [Entry(at=moment(0), run_started=journal_pb2.RunStarted(workflow="order", **changed))]


def moment(second: float) -> Timestamp:
    at = Timestamp()
    at.FromDatetime(T0 + timedelta(seconds=second))
    return at


def span(seconds: float) -> Duration:
    made = Duration()
    made.FromTimedelta(timedelta(seconds=seconds))
    return made


def value(text: str) -> value_pb2.Payload:
    return value_pb2.Payload(data=text.encode())


def failure(error_type: str, message: str = "") -> value_pb2.Failure:
    return value_pb2.Failure(error_type=error_type, message=message)


def attempt(
    number: int,
    outcome: AttemptOutcome,
    begun: float,
    ended: float,
    *,
    failed: value_pb2.Failure | None = None,
    retry: float | None = None,
    session: str = "ses_1",
    build: str = "b1",
    epoch: int = 0,
    eligible: float | None = None,
) -> Record:
    """The record of an attempt that ran from one second to another. eligible: since when it could."""
    return Record(
        attempt=number,
        outcome=outcome.value,  # type: ignore[arg-type]  # the same numbers
        scheduled_at=moment(begun),
        eligible_at=None if eligible is None else moment(eligible),
        started_at=moment(begun),
        ended_at=moment(ended),
        session_id=session,
        build=build,
        failure=failed,
        retry_delay=None if retry is None else span(retry),
        epoch=epoch,
    )


# Entries


def scheduled(at: float, number: int, name: str, *, begins: bool = False, queued: bool = False, **more: Any) -> Entry:
    body = journal_pb2.StepScheduled(
        number=number,
        name=name,
        placement=2 if queued else 1,  # type: ignore[arg-type]  # queued, inline
        started=begins,
        arguments=value_pb2.Arguments(positional=[value("[1]")], named={"to": value('"x"')}),
        **more,
    )
    return Entry(at=moment(at), step_scheduled=body)


def begins(at: float, number: int, attempt: int) -> Entry:
    return Entry(at=moment(at), attempt_started=journal_pb2.AttemptStarted(number=number, attempt=attempt))


def ended(at: float, number: int, record: Record, *, alarm: bool = False) -> Entry:
    body = journal_pb2.AttemptEnded(number=number, attempt=record, retry_by_alarm=alarm)
    return Entry(at=moment(at), attempt_ended=body)


def completed(at: float, number: int, record: Record | None = None) -> Entry:
    return Entry(at=moment(at), step_completed={"number": number, "result": value("42"), "attempt": record})


def failed(at: float, number: int, why: value_pb2.Failure, record: Record | None = None) -> Entry:
    return Entry(at=moment(at), step_failed={"number": number, "failure": why, "attempt": record})


def cancelled(at: float, number: int, record: Record | None = None, attempts: Sequence[Record] = ()) -> Entry:
    """attempts: those of a queued step."""
    return Entry(at=moment(at), step_cancelled={"number": number, "attempt": record, "attempts": attempts})


def timer(at: float, number: int, seconds: float, name: str = "", *, signal: str = "", part: int = 0) -> Entry:
    """signal: the one whose wait it limits. part: the number of the named part of the code that set it."""
    body = {"number": number, "name": name, "delay": span(seconds), "signal": signal, "span": part}
    return Entry(at=moment(at), timer_set=body)


def timer_cancelled(at: float, number: int) -> Entry:
    return Entry(at=moment(at), timer_cancelled={"number": number})


def child(
    at: float, number: int, workflow: str, run_id: str, *, policy: ClosePolicy = ClosePolicy.CANCEL, **more: Any
) -> Entry:
    body = journal_pb2.ChildStarted(
        number=number,
        workflow=workflow,
        run_id=run_id,
        close_policy=policy.value,  # type: ignore[arg-type]  # the same numbers
        **more,
    )
    return Entry(at=moment(at), child_started=body)


def child_cancelled(at: float, number: int) -> Entry:
    return Entry(at=moment(at), child_cancelled={"number": number})


def stalled(at: float, reason: str, build: str = "") -> Entry:
    return Entry(at=moment(at), run_stalled={"reason": reason, "build": build})


def resumed(at: float, reason: str) -> Entry:
    return Entry(at=moment(at), run_resumed={"reason": reason})


def paused(at: float, reason: str) -> Entry:
    return Entry(at=moment(at), run_paused={"reason": reason})


def part_began(began: float, at: float, number: int, name: str, *, inside: int = 0) -> Entry:
    """Something is called, for the first time, in a part of the code that it had named and entered earlier."""
    body = {"number": number, "name": name, "began_at": moment(began), "parent": inside}
    return Entry(at=moment(at), user_span_began=body)


def named_part(began: float, at: float, number: int, name: str, *, inside: int = 0, error: str = "") -> Entry:
    """A part of the code that it had named, from one second to another. inside: the number of the part around it."""
    body = {"number": number, "name": name, "began_at": moment(began), "parent": inside, "error_type": error}
    return Entry(at=moment(at), user_span=body)


def noted(at: float, text: str, level: str = "info", *, part: int = 0) -> Entry:
    """A note of the code. part: the number of the named part that it is in."""
    return Entry(at=moment(at), noted={"text": text, "level": level, "span": part})


def closed(at: float, status: RunStatus, why: value_pb2.Failure | None = None, *, successor: str = "") -> Entry:
    result = value('"done"') if status is RunStatus.COMPLETED else None
    body = journal_pb2.RunClosed(
        status=status.number,  # type: ignore[arg-type]
        result=result,
        failure=why,
        successor_run_id=successor,
    )
    return Entry(at=moment(at), run_closed=body)


# Mail


def mail(
    at: float,
    number: int,
    *,
    arrived: float | None = None,
    awaited: float | None = None,
    trace: str = "",
    **body: Any,
) -> Entry:
    """Mail that reached the code. arrived: the second in which it came, if earlier.

    awaited: since when the code waited for this signal without a limit.
    """
    since = None if awaited is None else moment(awaited)
    letter = _letter(at, number, arrived, trace, body)
    return Entry(at=moment(at), mail_consumed={"number": number, "mail": letter, "awaited_since": since})


def answered(at: float, number: int, why: value_pb2.Failure | None = None) -> Entry:
    """The code answered an update. number: of its mail."""
    result = value('"new"') if why is None else None
    return Entry(at=moment(at), update_completed={"number": number, "result": result, "failure": why})


def undelivered(at: float, number: int, *, arrived: float | None = None, trace: str = "", **body: Any) -> Entry:
    return Entry(at=moment(at), mail_undelivered={"number": number, "mail": _letter(at, number, arrived, trace, body)})


def _letter(at: float, number: int, arrived: float | None, trace: str, body: dict[str, Any]) -> journal_pb2.Mail:
    arrived_at = moment(at if arrived is None else arrived)
    sent = value_pb2.TraceContext(traceparent=trace) if trace else None
    return journal_pb2.Mail(number=number, arrived_at=arrived_at, trace=sent, **body)
