"""What the log of a replica says of runs and leases: what went wrong, once, with the ids of the spans."""

from typing import Any

import pytest
import structlog

from holdfast.api.v1.value_pb2 import RunTrace, TraceContext
from holdfast.statuses import Then
from holdfast_coordinator.domain.asks import StallAsk
from holdfast_coordinator.domain.changes import Changes
from holdfast_coordinator.domain.commands import AlarmDue, CommitTransition, EndAttempt, EndLease, LeaseEnd, ResumeRun
from holdfast_coordinator.domain.rows import AlarmKind, AlarmRow, TaskState
from holdfast_coordinator.engine.engine import Engine
from tests.support.engine_replicas import FailingCell, introduction, poll, replica, run_named, start
from tests.support.memory_cell_store import system_clock
from tests.support.store_rows import ENTRY, closing, open_run, record, starting, task, write

RUN = run_named(1)
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACE = RunTrace(context=TraceContext(traceparent=f"00-{TRACE_ID}-b7ad6b7169203331-01")).SerializeToString()


async def logged(engine: Engine, *commands: Any) -> list[dict[str, Any]]:
    """What is logged while commands are committed, one after the other."""
    (cell,) = engine.cells
    with structlog.testing.capture_logs() as logs:
        for command in commands:
            await cell.writer.submit(command)
    return [dict(one) for one in logs]


async def held(**of_run: Any) -> FailingCell:
    """A cell with a run that session s1 holds."""
    cell = FailingCell()
    await write(cell, starting(open_run(RUN, **of_run)))
    return cell


@pytest.mark.parametrize(
    ("reason", "word"),
    [(LeaseEnd.LOST, "lost"), (LeaseEnd.UNDELIVERED, "undelivered"), (LeaseEnd.CLOSED_SESSION, "closed_session")],
)
async def test_a_lease_that_is_taken_away_is_said_once(reason: LeaseEnd, word: str) -> None:
    end = EndLease(RUN, "s1", 1, reason)
    async with replica(await held()) as engine:
        said = await logged(engine, end, end)
    assert said == [
        {"event": "lease_lost", "log_level": "warning", "run_id": RUN, "session_id": "s1", "epoch": 1, "reason": word}
    ]


async def test_a_lease_of_a_traced_run_is_said_with_the_ids_of_its_span() -> None:
    async with replica(await held()) as engine:
        await engine.records.of([record(RUN, trace=TRACE)])
        (said,) = await logged(engine, EndLease(RUN, "s1", 1, LeaseEnd.LOST))
    assert (said["trace_id"], said["span_id"]) == (TRACE_ID, "b7ad6b7169203331")


async def test_only_a_lazy_alarm_that_takes_the_lease_is_said() -> None:
    cell, now = await held(attempt_deadline_at=system_clock()), system_clock()
    alarm = AlarmRow(RUN, AlarmKind.ATTEMPT_DEADLINE, 0, now)
    await write(cell, Changes(alarms_set={(RUN, AlarmKind.ATTEMPT_DEADLINE, 0): alarm}))
    due = AlarmDue(RUN, AlarmKind.ATTEMPT_DEADLINE, 0)
    async with replica(cell) as engine:
        said = await logged(engine, due, due)
    assert [(one["event"], one["session_id"], one["reason"]) for one in said] == [("lease_lost", "s1", "overdue")]


@pytest.mark.parametrize(
    ("how", "word"), [({}, "lost"), ({"undelivered": True}, "undelivered"), ({"timed_out": True}, "overdue")]
)
async def test_a_queued_attempt_that_is_taken_away_is_said_with_its_number(how: dict[str, bool], word: str) -> None:
    cell = await held()
    now = system_clock()
    claimed = task(
        RUN, 3, state=TaskState.CLAIMED, owner="s1", epoch=7, attempt=1, started_at=now, deadline_at=now,
        recoveries=None,
    )  # fmt: skip
    await write(cell, Changes(tasks_added={(RUN, 3): claimed}))
    async with replica(cell) as engine:
        await engine.records.of([record(RUN, trace=TRACE)])
        (said,) = await logged(engine, EndAttempt(RUN, 3, 7, **how))
    assert said.pop("span_id") != "b7ad6b7169203331"
    assert said == {
        "event": "attempt_taken", "log_level": "warning", "run_id": RUN, "step": 3, "attempt": 1, "session_id": "s1",
        "epoch": 7, "reason": word, "trace_id": TRACE_ID,
    }  # fmt: skip


async def test_a_run_that_its_worker_stalls_and_an_operator_resumes_is_said() -> None:
    stall = StallAsk("the code does not match the journal", "b1")
    asked = CommitTransition(RUN, "s1", 1, 1, 1, 1, [ENTRY], [stall], 0, Then.STALL)
    async with replica(await held()) as engine:
        said = await logged(engine, asked, ResumeRun(RUN, "request-1"), ResumeRun(RUN, "request-1"))
    assert [(one["event"], one["log_level"], one["reason"]) for one in said] == [
        ("run_stalled", "warning", stall.reason),
        ("run_resumed", "info", "an operator asked for it"),
    ]
    assert said[0]["build"] == "b1"


async def test_a_run_that_kills_its_workers_is_said_to_be_stalled() -> None:
    async with replica(await held(losses=4)) as engine:
        said = await logged(engine, EndLease(RUN, "s1", 1, LeaseEnd.LOST))
    assert [one["event"] for one in said] == ["lease_lost", "run_stalled"]


async def test_a_run_that_waits_for_nothing_is_said_to_be_stalled() -> None:
    asked = CommitTransition(RUN, "s1", 1, 1, 1, 1, [ENTRY], [], 0, Then.SUSPEND)
    async with replica(await held()) as engine:
        (said,) = await logged(engine, asked)
    assert said["event"] == "run_stalled"
    assert "waits for nothing" in said["reason"]


async def test_a_run_that_goes_its_way_says_nothing_above_debug() -> None:
    async with replica() as engine:
        session, _ = await engine.open_session(introduction())
        with structlog.testing.capture_logs() as logs:
            await engine.start_runs([start(1)])
            (lease,) = (await poll(engine, session)).leases
            close = closing(RUN, session_id=session.session_id, epoch=lease.epoch)
            await engine.report(session, [close], [])
    assert [(one["event"], one["log_level"]) for one in logs] == [("run_closed", "debug")]
