"""What the metrics of a replica say of its commits, its leases and its loops; and that without them nothing is."""

from datetime import timedelta

import pytest

from holdfast.errors import CoordinatorUnavailable
from holdfast_coordinator.domain.changes import Changes
from holdfast_coordinator.domain.commands import AlarmDue, EndLease, LeaseEnd
from holdfast_coordinator.domain.rows import AlarmKind, AlarmRow
from holdfast_coordinator.engine.engine import Engine
from holdfast_coordinator.loops.alarms import AlarmLoop
from holdfast_coordinator.loops.gauges import Gauges
from holdfast_coordinator.loops.upkeep import all_loops
from holdfast_coordinator.metrics.metrics import Metrics
from holdfast_coordinator.store.port import OutcomeUnknown
from tests.support.engine_replicas import FailingCell, introduction, replica, run_named, start
from tests.support.memory_cell_store import system_clock
from tests.support.store_rows import open_run, ready_run, starting, write


def value(metrics: Metrics, name: str, **labels: str) -> float:
    """The sum of the samples that have these labels."""
    samples = [one for family in metrics.registry.collect() for one in family.samples]
    return sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items())


async def test_a_replica_without_metrics_has_none_anywhere() -> None:
    async with replica() as engine:
        assert engine.metrics is None
        assert {cell.writer._metrics for cell in engine.cells} == {None}
        names = [name for name, loop in all_loops(engine, on_ready=_ignore) if loop.close() is None]
        assert "gauges" not in names


async def test_commits_are_measured_by_the_way_they_took() -> None:
    metrics = Metrics()
    async with replica(metrics=metrics) as engine:
        await engine.start_runs([start(number) for number in (1, 2, 3)])
        assert value(metrics, "holdfast_commit_batch_size_sum", path="start") == 3
        assert value(metrics, "holdfast_commit_seconds_count", path="start") == 1
        await engine.start_runs([start(4, id="order-4")])
        assert value(metrics, "holdfast_commit_seconds_count", path="locked") == 1
        assert value(metrics, "holdfast_runs_started_total", workflow="order", namespace="default") == 4


async def test_a_start_that_is_repeated_is_one_run() -> None:
    metrics = Metrics()
    async with replica(metrics=metrics) as engine:
        await engine.start_runs([start(1)])
        await engine.start_runs([start(1)])
        assert value(metrics, "holdfast_runs_started_total") == 1


async def test_a_commit_that_fails_is_counted() -> None:
    metrics, cell = Metrics(), FailingCell()
    cell.before.append(OutcomeUnknown("the connection broke"))
    async with replica(cell, metrics=metrics) as engine:
        with pytest.raises(CoordinatorUnavailable):
            await engine.start_runs([start(1)])
        assert value(metrics, "holdfast_commits_failed_total") == 1
        assert value(metrics, "holdfast_commit_seconds_count") == 0


@pytest.mark.parametrize(
    ("reason", "label"),
    [(LeaseEnd.LOST, "lost"), (LeaseEnd.UNDELIVERED, "undelivered"), (LeaseEnd.CLOSED_SESSION, "closed_session")],
)
async def test_a_lease_is_counted_when_it_is_taken_away_and_only_then(reason: LeaseEnd, label: str) -> None:
    metrics, cell = Metrics(), FailingCell()
    await write(cell, starting(open_run(run_named(1))))
    async with replica(cell, metrics=metrics) as engine:
        (only,) = engine.cells
        for _ in range(2):
            await only.writer.submit(EndLease(run_named(1), "s1", 1, reason))
        assert value(metrics, "holdfast_leases_lost_total", held="run", reason=label) == 1
        assert value(metrics, "holdfast_leases_lost_total") == 1


async def test_a_lazy_alarm_that_takes_no_lease_counts_for_none() -> None:
    metrics, cell = Metrics(), FailingCell()
    now = system_clock()
    run = open_run(run_named(1), last_at=now, attempt_deadline_at=now + timedelta(hours=1))
    late = open_run(run_named(2), last_at=now, attempt_deadline_at=now - timedelta(hours=1))
    await write(cell, starting(run, late))
    alarms = [AlarmRow(run_named(number), AlarmKind.ATTEMPT_DEADLINE, 0, now) for number in (1, 2)]
    await write(cell, Changes(alarms_set={(one.run_id, one.kind, one.ref): one for one in alarms}))
    async with replica(cell, metrics=metrics) as engine:
        (only,) = engine.cells
        for alarm in alarms:
            await only.writer.submit(AlarmDue(alarm.run_id, alarm.kind, alarm.ref))
        assert value(metrics, "holdfast_leases_lost_total", held="run", reason="overdue") == 1
        assert value(metrics, "holdfast_leases_lost_total") == 1


async def test_the_lateness_of_an_alarm_is_measured_by_the_clock_of_the_database() -> None:
    metrics, cell = Metrics(), FailingCell()
    await write(cell, starting(open_run(run_named(1))))
    due_at = system_clock() - timedelta(seconds=30)
    key = (run_named(1), AlarmKind.TIMER, 1)
    await write(cell, Changes(alarms_set={key: AlarmRow(*key, due_at)}))
    async with replica(cell, metrics=metrics) as engine:
        (only,) = engine.cells
        await AlarmLoop(engine, only).run_once()
        assert value(metrics, "holdfast_alarm_lateness_seconds_count", alarm="timer") == 1
        assert 30 <= value(metrics, "holdfast_alarm_lateness_seconds_sum", alarm="timer") < 35


async def test_gauges_read_what_waits_and_who_is_here() -> None:
    metrics, cell = Metrics(), FailingCell()
    async with replica(cell, metrics=metrics) as engine:
        ready = ready_run(run_named(1), 0, queue="busy", ready_at=engine.database_time() - timedelta(seconds=9))
        await write(cell, starting(ready, open_run(run_named(2))))
        gauges = Gauges(engine, metrics)
        await gauges.run_once()
        await _one_session(engine)
        assert value(metrics, "holdfast_queue_depth", queue="busy", work="run", namespace="default") == 1
        assert 9 <= value(metrics, "holdfast_queue_oldest_age_seconds", queue="busy", work="run") < 12
        assert value(metrics, "holdfast_open_runs", state="ready") == 1
        assert value(metrics, "holdfast_open_runs", state="leased") == 1
        assert value(metrics, "holdfast_sessions", queue="default") == 1
        assert value(metrics, "holdfast_polls_waiting") == 0


async def _one_session(engine: Engine) -> None:
    await engine.open_session(introduction())


async def _ignore(is_ready: bool) -> None:
    pass
