"""What is said of results that came too late: a log event, a count, and a span where the run is sampled."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
import structlog

from holdfast.api.v1 import journal_pb2, status_pb2
from holdfast.api.v1.value_pb2 import Failure, RunTrace, TraceContext
from holdfast.statuses import Then, TransitionStatus
from holdfast.traces import attempt_context, parse_traceparent
from holdfast_coordinator.app import _Codec
from holdfast_coordinator.domain.changes import Changes
from holdfast_coordinator.domain.commands import CommitTransition, ReportAttempt
from holdfast_coordinator.domain.mail import MailKind, MailRow, StepResultMail
from holdfast_coordinator.domain.rows import JournalRow
from holdfast_coordinator.domain.transitions import TransitionAnswer
from holdfast_coordinator.engine import late_results
from holdfast_coordinator.engine.attachments import Attachment
from holdfast_coordinator.engine.engine import Engine
from holdfast_coordinator.engine.sessions import SessionOpening, SessionPolicy
from holdfast_coordinator.metrics.metrics import Metrics
from holdfast_coordinator.store.port import StoreUnavailable
from holdfast_coordinator.telemetry.run_spans import DEFAULT_RULES
from holdfast_coordinator.telemetry.spans import Span, SpanKind, SpanRules
from tests.support.memory_cell_store import MemoryCellStore
from tests.support.memory_control_store import MemoryControlStore
from tests.support.store_rows import T0, open_run, starting, write

COMPLETED = status_pb2.ATTEMPT_OUTCOME_COMPLETED
FINAL = status_pb2.ATTEMPT_OUTCOME_FAILED_FINAL
LOST = status_pb2.ATTEMPT_OUTCOME_LOST
SUPERSEDED = TransitionAnswer(TransitionStatus.SUPERSEDED)
COMMITTED = TransitionAnswer(TransitionStatus.COMMITTED)
RUN = "run_00_1"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
ROOT = f"00-{TRACE_ID}-b7ad6b7169203331"
WORKER = Attachment("s1", 1, namespace="default", queue="default", workflows=[], steps=[], build="b1")


class Said:
    """What was said. late: what says it."""

    def __init__(self, store: MemoryCellStore, rules: SpanRules) -> None:
        self.spans: list[Span] = []
        self.metrics = Metrics()
        self.control = MemoryControlStore()
        self.engine = Engine(
            self.control, [("00", store)], replica_id="r1", policy=SessionPolicy(), codec=_Codec(),
            metrics=self.metrics, emit=self.spans.append, span_rules=rules,
        )  # fmt: skip
        self.late = self.engine.late_results

    def superseded(self, asked: CommitTransition, worker: Attachment = WORKER) -> None:
        """A transition came after its lease had moved on."""
        self.late.answered(worker, [asked], [SUPERSEDED], [], [])

    def unrecorded(self, asked: ReportAttempt) -> None:
        """The report of a queued attempt was not recorded."""
        self.late.answered(WORKER, [], [], [asked], [False])

    def counted(self, placement: str) -> float:
        """How many late results the metrics have."""
        samples = [one for family in self.metrics.registry.collect() for one in family.samples]
        wanted = {"namespace": "default", "placement": placement}
        return sum(one.value for one in samples if one.name == "holdfast_late_results_total" and one.labels == wanted)


@asynccontextmanager
async def saying(
    store: MemoryCellStore | None = None, *, flags: str = "01", rules: SpanRules = DEFAULT_RULES, **of_record: Any
) -> AsyncIterator[tuple[Said, list[Any]]]:
    """A replica with one run, and the events that it has logged when the block has ended."""
    store = store or MemoryCellStore()
    trace = RunTrace(context=TraceContext(traceparent=f"{ROOT}-{flags}")) if flags else RunTrace()
    await write(store, starting(open_run(RUN), trace=trace.SerializeToString(), **of_record))
    said = Said(store, rules)
    events: list[Any] = []
    with structlog.testing.capture_logs() as logs:
        yield said, events
        await said.late.close()
    events += [event for event in logs if event["event"] == "late_result"]


def attempt(outcome: Any = COMPLETED, **more: Any) -> journal_pb2.AttemptRecord:
    """How the second attempt went, by worker s1."""
    made = journal_pb2.AttemptRecord(attempt=2, outcome=outcome, session_id="s1", build="b1", **more)
    made.scheduled_at.FromDatetime(T0)
    return made


def completed(**more: Any) -> journal_pb2.Entry:
    """The entry that completes step 3."""
    return journal_pb2.Entry(step_completed=journal_pb2.StepCompleted(number=3, attempt=attempt(**more)))


def transition(*entries: journal_pb2.Entry, session_id: str = "s1") -> CommitTransition:
    """A transition under the lease of the run, of epoch 4."""
    return CommitTransition(RUN, session_id, 4, 1, 7, len(entries), [b""], [], 0, Then.CONTINUE, parsed=entries)


def queued(record: journal_pb2.AttemptRecord) -> ReportAttempt:
    """A report of the queued attempt of step 3."""
    return ReportAttempt(RUN, 3, 2, 4, "s1", record.SerializeToString(), parsed=record)


async def test_a_result_under_a_superseded_lease_is_logged_counted_and_traced_below_its_attempt() -> None:
    root = parse_traceparent(f"{ROOT}-01")
    assert root is not None
    below = attempt_context(root, RUN, 3, 2)
    async with saying() as (said, events):
        said.superseded(transition(completed()))
    assert events == [
        {
            "event": "late_result", "log_level": "info", "run_id": RUN, "workflow": "order", "step": 3, "attempt": 2,
            "outcome": "completed", "placement": "inline", "session_id": "s1", "epoch": 4,
            "trace_id": TRACE_ID, "span_id": below.span_id.hex(),
        }
    ]  # fmt: skip
    assert said.counted("inline") == 1
    (span,) = said.spans
    assert (span.name, span.kind, span.start_ns) == ("late result", SpanKind.INTERNAL, span.end_ns - 1)
    assert (span.trace_id.hex(), span.parent_id) == (TRACE_ID, below.span_id)
    assert dict(span.own) == {
        "holdfast.step.number": 3, "holdfast.attempt": 2, "holdfast.attempt.outcome": "completed",
        "holdfast.worker.id": "s1", "holdfast.worker.build": "b1", "holdfast.lease.epoch": 4,
    }  # fmt: skip


async def test_a_step_of_a_later_segment_has_its_late_result_there() -> None:
    record = attempt()
    record.scheduled_at.FromDatetime(T0 + timedelta(hours=30))
    async with saying() as (said, events):
        said.unrecorded(queued(record))
    (span,) = said.spans
    assert span.trace_id.hex() == events[0]["trace_id"] != TRACE_ID


async def test_why_a_late_attempt_failed_is_told_unless_messages_are_kept_out() -> None:
    failed = attempt(FINAL, failure=Failure(error_type="CardDeclined", message="no funds"))
    shown = []
    for rules in (SpanRules(), SpanRules(shows_messages=False)):
        async with saying(rules=rules) as (said, _):
            said.unrecorded(queued(failed))
        shown.append(dict(said.spans[0].own))
    assert [own["error.type"] for own in shown] == ["CardDeclined"] * 2
    assert [own.get("holdfast.error.message") for own in shown] == ["no funds", None]


@pytest.mark.parametrize("flags", ["00", ""], ids=["not sampled", "tracing off"])
async def test_a_run_that_is_not_exported_has_no_span_but_the_rest(flags: str) -> None:
    async with saying(flags=flags) as (said, events):
        said.superseded(transition(completed()))
    assert not said.spans
    assert [event.get("trace_id") for event in events] == [TRACE_ID if flags else None]
    assert said.counted("inline") == 1


@pytest.mark.parametrize(
    ("entry", "answer"),
    [
        (journal_pb2.Entry(attempt_ended=journal_pb2.AttemptEnded(number=3, attempt=attempt(LOST))), SUPERSEDED),
        (journal_pb2.Entry(step_completed=journal_pb2.StepCompleted(number=3)), SUPERSEDED),
        (journal_pb2.Entry(attempt_started=journal_pb2.AttemptStarted(number=3, attempt=2)), SUPERSEDED),
        (completed(), COMMITTED),
        (completed(), TransitionAnswer(TransitionStatus.REFUSED, refusal="no")),
    ],
    ids=["a loss that is only noted", "a kept result", "a start", "committed", "refused"],
)
async def test_what_is_no_result_or_is_not_late_is_not_said(entry: journal_pb2.Entry, answer: TransitionAnswer) -> None:
    async with saying() as (said, events):
        said.late.answered(WORKER, [transition(entry)], [answer], [], [])
    assert (events, said.spans, said.counted("inline")) == ([], [], 0)


def in_the_mail(record: bytes) -> Callable[[Any], None]:
    body = StepResultMail(3, (record,), result=b"")
    return lambda changes: changes.mail_added.append(MailRow(RUN, 1, MailKind.STEP_RESULT, T0, body))


def in_the_journal(record: bytes) -> Callable[[Any], None]:
    mail = journal_pb2.Mail(number=1)
    mail.step_result.attempts.add().MergeFromString(record)
    entry = journal_pb2.Entry(mail_consumed=journal_pb2.MailConsumed(number=1, mail=mail))
    row = journal_pb2.JournalRow(entries=[entry]).SerializeToString()
    return lambda changes: changes.journal.append(JournalRow(RUN, 2, 1, 1, 1, [row]))


@pytest.mark.parametrize("place", [in_the_mail, in_the_journal])
async def test_the_repeat_of_a_queued_result_that_was_recorded_is_not_late(place: Any) -> None:
    store, record = MemoryCellStore(), attempt()
    async with saying(store) as (said, events):
        changes = Changes()
        place(record.SerializeToString())(changes)
        await write(store, changes)
        said.unrecorded(queued(record))
    assert (events, said.spans, said.counted("queued")) == ([], [], 0)


async def test_a_queued_result_of_a_claim_that_has_moved_on_is_late() -> None:
    async with saying() as (said, events):
        said.unrecorded(queued(attempt()))
    assert [event["placement"] for event in events] == ["queued"]
    assert said.counted("queued") == len(said.spans) == 1


async def test_a_worker_learns_and_leaves_nothing_in_another_namespace() -> None:
    stranger = Attachment("s9", 1, namespace="other", queue="default", workflows=[], steps=[], build="b1")
    async with saying() as (said, events):
        said.superseded(transition(completed()), stranger)
    assert (events, said.spans) == ([], [])


async def test_what_a_dead_session_reports_is_late() -> None:
    async with saying() as (said, events):
        said.late.unattached([transition(completed())], [queued(attempt())])
    assert [event["placement"] for event in events] == ["inline", "queued"]
    assert said.counted("inline") == said.counted("queued") == 1


async def test_what_a_living_session_reports_to_the_wrong_replica_is_not_late() -> None:
    async with saying() as (said, events):
        await said.control.create_namespace("default")
        opened, _ = await said.engine.open_session(
            SessionOpening("default", "default", {}, (), "b1", "h", 1, 1, None, frozenset())
        )
        said.late.unattached([transition(completed(), session_id=opened.session_id)], [])
    assert (events, said.spans) == ([], [])


class Unreadable(MemoryCellStore):
    """A cell whose database has gone."""

    async def records(self, run_ids: Any, max_bytes: int) -> Any:
        """See port.CellStore."""
        raise StoreUnavailable("gone")


async def test_without_its_database_a_late_result_is_only_counted() -> None:
    async with saying(Unreadable()) as (said, events):
        said.superseded(transition(completed()))
    assert (events, said.spans, said.counted("inline")) == ([], [], 1)


async def test_of_too_many_late_results_the_newest_are_only_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_results, "WAITING_MAX", 2)
    async with saying() as (said, events):
        said.superseded(transition(*[completed()] * 5))
    assert (len(events), len(said.spans), said.counted("inline")) == (2, 2, 5)


async def test_a_result_at_no_time_there_is_is_said_without_a_span() -> None:
    nonsense = attempt()
    nonsense.scheduled_at.seconds = 2**62
    async with saying() as (said, events):
        said.unrecorded(queued(nonsense))
        said.unrecorded(queued(attempt()))
    assert (len(events), len(said.spans)) == (2, 1), "there is no place for a span"
