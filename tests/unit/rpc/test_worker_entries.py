"""What workers may write into a journal, as the coordinator reads it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.api.v1 import journal_pb2, value_pb2
from holdfast.api.v1 import worker_service_pb2 as pb
from holdfast.api.v1.status_pb2 import STEP_PLACEMENT_QUEUED
from holdfast.errors import InvalidRequest, PayloadTooLarge
from holdfast.ids import child_run_id, start_id
from holdfast.ids import run_id as run_named
from holdfast.limits import DEFAULT_LIMITS
from holdfast.statuses import RunStatus, Then
from holdfast_coordinator.domain.asks import (
    CancelledStep,
    CancelStepAsk,
    ConsumeMail,
    QueueStepAsk,
    StartChildAsk,
)
from holdfast_coordinator.domain.commands import CommitTransition
from holdfast_coordinator.domain.events import RunLeased, TaskClaimed
from holdfast_coordinator.domain.rows import AlarmKind, AlarmRow, OpenRun, RunRow, RunState, TaskRow, TaskState
from holdfast_coordinator.engine.attachments import Handed
from holdfast_coordinator.engine.polls import Delivery
from holdfast_coordinator.rpc.report_messages import transition
from holdfast_coordinator.rpc.work_messages import Room, fill_poll_response
from holdfast_coordinator.rpc.worker_shapes import BODIES, FAILURE_LEVELS_MAX
from holdfast_coordinator.telemetry.identity import IdentityRules, attempt_position, of_start
from holdfast_coordinator.wire.children import child_start

AT = datetime(2026, 5, 4, 3, 2, 1, 123_456, UTC)
RUN = run_named("00", start_id(1, bytes(10)))


def transition_with_span(name: str) -> CommitTransition:
    message = pb.Transition(run_id=RUN, epoch=1, expected_seq=1, transition_id=1)
    message.then = pb.THEN_CONTINUE
    span = message.entries.add().user_span
    span.number, span.name = 1, name
    return transition("ses_1", message, DEFAULT_LIMITS, timedelta(0))


def test_a_span_of_workflow_code_asks_nothing_and_is_kept_as_it_is() -> None:
    asked = transition_with_span("x" * 200)
    assert (asked.asks, asked.count, asked.then, len(asked.journal)) == ([], 1, Then.CONTINUE, 1)


@pytest.mark.parametrize("name", ["", "x" * 201])
def test_a_span_needs_a_name_within_the_limit(name: str) -> None:
    with pytest.raises(InvalidRequest, match="1 to 200 characters"):
        transition_with_span(name)


def taken(**body: Any) -> CommitTransition:
    """A transition with one entry, as the core gets it."""
    message = pb.Transition(run_id=RUN, epoch=1, expected_seq=1, transition_id=1, then=pb.THEN_CONTINUE)
    message.entries.add(**body).at.FromDatetime(AT)
    return transition("ses_1", message, DEFAULT_LIMITS, timedelta(0))


LARGE_RESULT = {"data": b"x" * (DEFAULT_LIMITS.payload_bytes + 1)}
LARGE_ARGUMENTS = {"positional": [LARGE_RESULT]}


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("the result of step_completed 4", {"step_completed": {"number": 4, "result": LARGE_RESULT}}),
        ("the result of run_closed", {"run_closed": {"status": RunStatus.COMPLETED.number, "result": LARGE_RESULT}}),
        (
            "the argument list of step_scheduled 4",
            {"step_scheduled": {"number": 4, "name": "charge", "placement": 1, "arguments": LARGE_ARGUMENTS}},
        ),
        (
            "the argument list of child_started 4",
            {"child_started": {
                "number": 4, "run_id": child_run_id(RUN, 4), "workflow": "ship", "close_policy": 1,
                "arguments": LARGE_ARGUMENTS,
            }},
        ),
    ],
)  # fmt: skip
def test_a_value_beyond_the_limit_is_refused_by_the_name_of_its_entry(what: str, body: dict[str, Any]) -> None:
    with pytest.raises(PayloadTooLarge, match=f"{what} has "):
        taken(**body)


def test_consumed_mail_is_taken_with_the_time_since_when_it_was_awaited() -> None:
    since = AT - timedelta(seconds=5)
    consumed = journal_pb2.MailConsumed(number=3)
    assert taken(mail_consumed=consumed).journal == [ConsumeMail(3, AT)]
    consumed.awaited_since.FromDatetime(since)
    assert taken(mail_consumed=consumed).journal == [ConsumeMail(3, AT, since)]


def test_the_cancel_of_a_step_keeps_its_place_for_the_attempts_that_the_coordinator_knows() -> None:
    asked = taken(step_cancelled={"number": 4})
    assert asked.asks == [CancelStepAsk(4)]
    (part,) = asked.journal
    assert isinstance(part, CancelledStep)
    (entry,) = journal_pb2.JournalRow.FromString(part.entry).entries
    assert (part.number, entry.step_cancelled.number) == (4, 4)
    assert not asked.is_append_only


def test_a_queued_step_is_scheduled_when_its_entry_says() -> None:
    (ask,) = taken(step_scheduled={"number": 4, "name": "charge", "placement": STEP_PLACEMENT_QUEUED}).asks
    assert isinstance(ask, QueueStepAsk)
    assert ask.at == AT


def test_a_child_is_asked_for_with_the_whole_entry_so_that_its_time_is_kept() -> None:
    run_id = run_named("00", start_id(1, bytes(10)))
    child = {"number": 1, "workflow": "order", "run_id": child_run_id(run_id, 1), "close_policy": 3}
    message = pb.Transition(run_id=run_id, epoch=1, expected_seq=1, transition_id=1, then=pb.THEN_CONTINUE)
    message.entries.add(child_started=child).at.FromDatetime(AT)
    (ask,) = transition("ses_1", message, DEFAULT_LIMITS, timedelta(0)).asks
    assert isinstance(ask, StartChildAsk)
    parent = RunRow(run_id, "shop", "parent", "default", AT, b"", b"")
    alarm = AlarmRow(run_id, AlarmKind.OUTBOX_CHILD, 1, AT, ask.spec)
    made = child_start(alarm, parent)
    assert (made.asked_at, made.close_policy, made.start.run_id) == (AT, ask.close_policy, child["run_id"])


@pytest.mark.parametrize("is_traced", [True, False])
def test_a_queued_attempt_and_a_lease_bring_the_trace_of_their_run_where_it_has_one(is_traced: bool) -> None:
    identity = of_start(IdentityRules(), "run_1", "shop", "order", drawn=b"\x01" * 16)
    record = RunRow("run_1", "shop", "order", "default", AT, b"", b"", trace=identity.trace if is_traced else b"")
    task = TaskRow("run_1", 2, "shop", "default", "charge", TaskState.CLAIMED, AT, AT, b"", attempt=3)
    run = OpenRun("run_1", "shop", "default", "order", RunState.LEASED, AT, epoch=1)
    handed = Handed([RunLeased("ses_2", run, 1, 1, [], None, "ses_1", True)], [TaskClaimed("ses_1", task, 1)])
    response = pb.PollResponse()
    fill_poll_response(response, Delivery(handed, {"run_1": record}), Room(1_000_000), attach_no=5)
    (lease,), (attempt,) = response.leases, response.attempts
    assert (lease.lost_session_id, lease.handed_back) == ("ses_1", True)
    assert (lease.attach_no, attempt.attach_no) == (5, 5)
    assert lease.HasField("trace") is attempt.HasField("trace") is is_traced
    if is_traced:
        assert lease.trace.SerializeToString(deterministic=True) == identity.trace
        assert attempt.trace == attempt_position(record, 2, 3, AT)


def test_a_queued_attempt_says_since_when_its_step_and_it_have_waited() -> None:
    ready_at, started_at = AT + timedelta(seconds=5), AT + timedelta(seconds=9)
    task = TaskRow("run_1", 2, "shop", "default", "charge", TaskState.CLAIMED, ready_at, AT, b"", started_at=started_at)
    response = pb.PollResponse()
    fill_poll_response(response, Delivery(Handed([], [TaskClaimed("ses_1", task, 1)])), Room(1_000_000), attach_no=5)
    (attempt,) = response.attempts
    times = (attempt.scheduled_at, attempt.eligible_at, attempt.started_at)
    assert [time.ToDatetime(UTC) for time in times] == [AT, ready_at, started_at]


ABSURD = Timestamp(seconds=10**15)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"step_completed": {"number": 0}}, "step_completed.number"),
        ({"step_completed": {"number": 1, "attempt": {"attempt": 1, "outcome": 9}}}, "attempt.outcome"),
        ({"step_completed": {"number": 1, "attempt": {"attempt": 1, "outcome": 1, "ended_at": ABSURD}}}, "attempt"),
        ({"step_failed": {"number": 1}}, "step_failed.failure"),
        ({"step_scheduled": {"number": 1}}, "step_scheduled.name"),
        ({"step_scheduled": {"number": 1, "name": "a\nb"}}, "step_scheduled.name"),
        ({"step_scheduled": {"number": 1, "name": "a", "placement": 9}}, "step_scheduled.placement"),
        ({"attempt_started": {"number": 1}}, "attempt_started.attempt"),
        ({"timer_set": {"number": 1}}, "timer_set"),
        ({"timer_set": {"number": 1, "until": ABSURD}}, "timer_set.until"),
        ({"timer_set": {"number": 1, "delay": {"seconds": 1}, "span": -1}}, "timer_set.span"),
        ({"step_scheduled": {"number": 1, "name": "a", "span": -1}}, "step_scheduled.span"),
        ({"child_started": {"number": 1, "workflow": "w", "span": -1}}, "child_started.span"),
        ({"timer_cancelled": {"number": -1}}, "timer_cancelled.number"),
        ({"mail_consumed": {"number": 1, "awaited_since": ABSURD}}, "mail_consumed.awaited_since"),
        ({"user_span": {"number": 1, "name": "a", "began_at": ABSURD}}, "user_span.began_at"),
        ({"step_skipped": {"name": "a", "step_id": "b"}}, "step_skipped.number"),
        ({"step_skipped": {"number": 1, "step_id": "b"}}, "step_skipped.name"),
        ({"step_skipped": {"number": 1, "name": "a"}}, "step_skipped.step_id"),
        ({"step_skipped": {"number": 1, "name": "a", "step_id": "b"}}, "step_skipped.failure"),
        ({"signal_set_aside": {"name": "a"}}, "signal_set_aside.number"),
        ({"noted": {"level": "info"}}, "noted.text"),
        ({"noted": {"text": "x" * 2001, "level": "info"}}, "noted.text"),
        ({"noted": {"text": "a", "level": "loud"}}, "noted.level"),
        ({"noted": {"text": "a", "level": "info", "span": -1}}, "noted.span"),
        ({"patched": {}}, "patched.change_id"),
        ({"published": {"key": "", "value": {}}}, "published.key"),
        ({"published": {"key": "x" * 201, "value": {}}}, "published.key"),
        ({"published": {"key": "share"}}, "published.value"),
        ({"patched": {"change_id": "x" * 201}}, "patched.change_id"),
        ({"signal_set_aside": {"number": 1}}, "signal_set_aside.name"),
        ({"signal_set_aside": {"number": 1, "name": "a", "problem": "x" * 501}}, "signal_set_aside.problem"),
        ({}, "entries"),
    ],
    ids=str,
)
def test_a_misshapen_entry_is_refused_by_its_field(body: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        taken(**body)
    assert caught.value.field == field


def test_an_entry_at_a_time_that_no_calendar_has_is_refused() -> None:
    message = pb.Transition(run_id=RUN, epoch=1, expected_seq=1, transition_id=1, then=pb.THEN_CONTINUE)
    message.entries.add(attempt_started={"number": 1, "attempt": 1}).at.CopyFrom(ABSURD)
    with pytest.raises(InvalidRequest, match="no time from 1970"):
        transition("ses_1", message, DEFAULT_LIMITS, timedelta(0))


def test_what_people_are_to_read_is_cut_and_never_refused() -> None:
    message = pb.Transition(run_id=RUN, epoch=1, expected_seq=1, transition_id=1, then=pb.THEN_SUSPEND)
    message.waits.extend(["a\0b", *["x" * 50] * 2_000])
    waits = transition("ses_1", message, DEFAULT_LIMITS, timedelta(0)).waits
    assert len(waits) <= 2_000
    assert waits.startswith("a\N{REPLACEMENT CHARACTER}b; x")


def nested(levels: int, *, by: str = "cause") -> value_pb2.Failure:
    """An error with so many errors in one another, itself counted."""
    failure = innermost = value_pb2.Failure(error_type="E")
    for _ in range(levels - 1):
        innermost = innermost.cause if by == "cause" else innermost.leaves.add()
        innermost.error_type = "E"
    return failure


@pytest.mark.parametrize("by", ["cause", "leaves"])
@pytest.mark.parametrize(
    "body",
    [
        lambda failure: {"step_failed": journal_pb2.StepFailed(number=1, failure=failure)},
        lambda failure: {"run_closed": journal_pb2.RunClosed(status=RunStatus.FAILED.number, failure=failure)},
        lambda failure: {
            "attempt_ended": journal_pb2.AttemptEnded(
                number=1, attempt=journal_pb2.AttemptRecord(attempt=1, outcome=2, failure=failure)
            )
        },
    ],
    ids=["step", "run", "attempt"],
)
def test_errors_in_errors_that_a_journal_could_not_be_read_with_are_refused(
    body: Callable[[value_pb2.Failure], dict[str, Any]], by: str
) -> None:
    """Protobuf stops at a hundred levels: a report is read with more errors than a journal row around them."""
    for kind, message in body(nested(FAILURE_LEVELS_MAX, by=by)).items():
        BODIES[kind](kind, message)
    for kind, message in body(nested(FAILURE_LEVELS_MAX + 1, by=by)).items():
        with pytest.raises(InvalidRequest, match="more than 32 levels deep; cut them"):
            BODIES[kind](kind, message)


@pytest.mark.parametrize("by", ["cause", "leaves"])
def test_what_is_not_refused_can_be_read_in_the_deepest_place_of_a_journal(by: str) -> None:
    result = journal_pb2.StepResult(number=1)
    result.attempts.add(attempt=1, outcome=2, failure=nested(FAILURE_LEVELS_MAX, by=by))
    row = journal_pb2.JournalRow()
    row.entries.add().mail_consumed.mail.step_result.CopyFrom(result)
    assert journal_pb2.JournalRow.FromString(row.SerializeToString()) == row
