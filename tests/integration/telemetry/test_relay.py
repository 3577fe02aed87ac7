"""What was not exported from memory is exported from the journal, once, or given up and counted."""

import asyncio

import grpc
import pytest
from structlog.testing import capture_logs

from holdfast.statuses import RunStatus, Then
from holdfast_coordinator.export.relay import RelayLimits
from holdfast_coordinator.store.port import CellStore
from holdfast_coordinator.telemetry.identity import IdentityRules
from holdfast_coordinator.telemetry.sinks import CollectorUnreachable
from tests.support.memory_cell_store import MemoryCellStore
from tests.support.otlp_sink import OtlpSink
from tests.support.traced_cells import (
    THREE_STEPS,
    Clock,
    Played,
    Replica,
    is_true,
    killed_after,
    marks_left,
    names,
    spans_of,
    until,
)

# Closed runs


async def test_what_a_crash_took_between_commit_and_export_is_exported_by_another_replica(
    store: CellStore, sink: OtlpSink, clock: Clock
) -> None:
    run = Played(1, clock)
    async with Replica(store, sink.address, clock, hears=False).committing() as killed:
        await killed.commit(run.start(), run.step(), run.step(), run.step(), run.close())
    async with Replica(store, sink.address, clock).committing() as other:
        await other.tracing.relay.run_once()
        assert not sink.spans, "for 30 s it is left to the replica that closed it"
        clock.pass_time(seconds=31)
        await other.tracing.relay.run_once()
    assert names(sink, 1) == THREE_STEPS
    assert await marks_left(store) == 0


async def test_what_a_relay_could_not_export_keeps_its_mark(store: CellStore, sink: OtlpSink, clock: Clock) -> None:
    runs = [Played(number, clock) for number in (1, 2, 3)]
    await killed_after(store, clock, runs)
    clock.pass_time(minutes=1)
    async with Replica(store, sink.address, clock).committing() as other:
        sink.refuse(grpc.StatusCode.UNAVAILABLE, times=1)
        with pytest.raises(CollectorUnreachable):
            await other.tracing.relay.run_once()
        assert await marks_left(store) == 3
        await other.tracing.relay.run_once()
        assert not sink.spans, "they are claimed"
        clock.pass_time(minutes=1)
        await other.tracing.relay.run_once()
    assert {span.attributes["holdfast.run.id"] for span in sink.spans} == {run.run_id for run in runs}
    assert await marks_left(store) == 0


async def test_two_relays_share_what_is_left_behind(store: CellStore, sink: OtlpSink, clock: Clock) -> None:
    runs = [Played(number, clock) for number in range(1, 121)]
    async with Replica(store, sink.address, clock, hears=False).committing() as killed:
        await asyncio.gather(*(killed.commit(run.start(), run.close()) for run in runs))
    clock.pass_time(minutes=1)
    async with (
        Replica(store, sink.address, clock).committing() as one,
        Replica(store, sink.address, clock).committing() as two,
    ):
        while any(await asyncio.gather(one.tracing.relay.run_once(), two.tracing.relay.run_once())):
            pass
    roots = sink.named("run order")
    assert len(roots) == len({root.trace_id for root in roots}) == 120, "each run once"
    assert await marks_left(store) == 0


async def test_a_claimed_run_is_left_alone_until_its_relay_must_be_dead(
    store: CellStore, sink: OtlpSink, clock: Clock
) -> None:
    run = Played(1, clock)
    async with Replica(store, sink.address, clock, hears=False).committing() as killed:
        await killed.commit(run.start(), run.close())
    clock.pass_time(seconds=31)
    await store.claim_marks(clock(), clock.now.replace(minute=clock.now.minute + 1), 10)
    async with Replica(store, sink.address, clock).committing() as other:
        await other.tracing.relay.run_once()
        assert not sink.spans
        clock.pass_time(minutes=1)
        await other.tracing.relay.run_once()
    assert sink.named("run order")


async def test_a_failed_run_that_was_not_sampled_is_exported_when_it_ends(
    store: CellStore, sink: OtlpSink, clock: Clock
) -> None:
    failed, fine, ignored = (Played(number, clock) for number in (1, 2, 3))
    never = IdentityRules(on_failure=False)
    async with Replica(store, sink.address, clock).committing() as replica:
        await replica.commit(failed.start(sampled=False), failed.step(), failed.close(RunStatus.FAILED))
        await replica.commit(fine.start(sampled=False), fine.step(), fine.close())
        await replica.commit(ignored.start(sampled=False, rules=never), ignored.close(RunStatus.FAILED))
        await replica.tracing.relay.run_once()
    assert names(sink, 1) == ["run accepted", "attempt step-1", "step step-1", "run order"]
    assert {span.attributes["holdfast.run.id"] for span in sink.spans} == {failed.run_id}
    assert [root.status for root in sink.named("run order")] == ["ERROR"]


async def test_runs_that_waited_for_too_long_are_given_up_and_counted(
    store: CellStore, sink: OtlpSink, clock: Clock
) -> None:
    old, new = Played(1, clock), Played(2, clock)
    async with Replica(store, sink.address, clock, hears=False).committing() as killed:
        await killed.commit(old.start(), old.close())
        clock.pass_time(hours=24, minutes=-1)
        await killed.commit(new.start(), new.close())
    clock.pass_time(minutes=2)
    async with Replica(store, sink.address, clock).committing() as replica:
        await replica.tracing.relay.run_once()
    assert replica.dropped == [(1, "too_old")]
    assert {span.attributes["holdfast.run.id"] for span in sink.spans} == {new.run_id}
    assert await marks_left(store) == 0


async def test_of_too_many_runs_the_oldest_are_given_up_and_counted(
    store: CellStore, sink: OtlpSink, clock: Clock
) -> None:
    runs = [Played(number, clock) for number in range(1, 9)]
    await killed_after(store, clock, runs)
    clock.pass_time(minutes=1)
    async with Replica(store, sink.address, clock, limits=RelayLimits(runs=3)).committing() as replica:
        await replica.tracing.relay.run_once()
    assert replica.dropped == [(5, "too_many")]
    assert {span.attributes["holdfast.run.id"] for span in sink.spans} == {run.run_id for run in runs[5:]}
    assert await marks_left(store) == 0


async def test_what_waits_for_a_collector_stays_bounded_while_it_is_gone(
    cell: MemoryCellStore, sink: OtlpSink, clock: Clock
) -> None:
    first, *runs = [Played(number, clock) for number in range(1, 10)]
    sink.refuse(grpc.StatusCode.UNAVAILABLE)
    async with Replica(cell, sink.address, clock, limits=RelayLimits(runs=3)).running() as replica:
        await replica.commit(first.start(), first.close())
        await until(lambda: is_true(not replica.tracing.exporter.is_reachable))
        await killed_after(cell, clock, runs)
        clock.pass_time(minutes=1)
        await until(lambda: is_true(replica.dropped))
    assert replica.dropped == [(6, "too_many")]
    assert set(cell.trace_marks) == {run.run_id for run in runs[5:]}


async def test_a_run_that_a_collector_refuses_is_given_up_and_counted(
    cell: MemoryCellStore, sink: OtlpSink, clock: Clock
) -> None:
    run = Played(1, clock)
    async with Replica(cell, sink.address, clock, hears=False).committing() as killed:
        await killed.commit(run.start(), run.close())
    clock.pass_time(minutes=1)
    sink.refuse(grpc.StatusCode.INVALID_ARGUMENT)
    async with Replica(cell, sink.address, clock).committing() as replica:
        await replica.tracing.relay.run_once()
    assert replica.dropped == [(1, "refused_run")]
    assert not cell.trace_marks


async def test_a_collector_that_refuses_every_run_is_warned_of_once(
    cell: MemoryCellStore, sink: OtlpSink, clock: Clock
) -> None:
    await killed_after(cell, clock, [Played(number, clock) for number in (1, 2, 3)])
    clock.pass_time(minutes=1)
    sink.refuse(grpc.StatusCode.UNAUTHENTICATED)
    with capture_logs() as logs:
        async with Replica(cell, sink.address, clock).committing() as replica:
            await replica.tracing.relay.run_once()
    assert replica.dropped == [(1, "refused_run")] * 3
    (warning,) = [entry for entry in logs if entry["event"] == "traces_given_up"]
    assert sink.address in warning["error"]


async def test_a_run_that_makes_no_spans_hurts_no_other(store: CellStore, sink: OtlpSink, clock: Clock) -> None:
    broken, fine, open_one = (Played(number, clock) for number in (1, 2, 3))
    replica = Replica(store, sink.address, clock)
    async with replica.running():
        await replica.commit(broken.start(), broken.unreadable(), broken.close())
        await replica.commit(fine.start(), fine.step(), fine.step(), fine.step(), fine.close())
        await replica.commit(open_one.start(), open_one.unreadable())
        await sink.until(lambda sink: sink.named("run order"))
    assert await marks_left(store) == 1
    clock.pass_time(minutes=5)
    async with Replica(store, sink.address, clock).committing() as other:
        await other.tracing.relay.run_once()
        await other.tracing.relay.sweep()
    assert other.dropped == [(1, "refused_run")]
    assert await marks_left(store) == 0
    assert names(sink, 2) == THREE_STEPS


# Open runs


async def test_idle_open_runs_that_a_crash_left_behind_are_swept_up(
    cell: MemoryCellStore, sink: OtlpSink, clock: Clock
) -> None:
    idle, held, unsampled = (Played(number, clock) for number in (1, 2, 3))
    async with Replica(cell, sink.address, clock, hears=False).committing() as killed:
        await killed.commit(idle.start(), idle.step(then=Then.SUSPEND))
        await killed.commit(held.start(), held.step())
        await killed.commit(unsampled.start(sampled=False), unsampled.step(then=Then.SUSPEND))
    async with Replica(cell, sink.address, clock).committing() as other:
        relay = other.tracing.relay
        await relay.run_once()
        clock.pass_time(minutes=2)
        await relay.run_once()
        assert not sink.spans, "until they are idle, their marks may be on their way"
        clock.pass_time(seconds=31)
        await relay.run_once()
        assert set(sink.spans[0].attributes) >= {"holdfast.run.id"}
        assert names(sink, 1) == ["run accepted", "attempt step-1", "step step-1"]
        assert {span.attributes["holdfast.run.id"] for span in sink.spans} == {idle.run_id}
        assert await cell.exported_seq(idle.run_id) == 3
        clock.pass_time(hours=2)
        await relay.run_once()
        assert len(sink.spans) == 3, "and once only"


async def test_spans_of_open_runs_that_had_no_room_are_swept_up_later(
    cell: MemoryCellStore, sink: OtlpSink, clock: Clock
) -> None:
    full, waiting = Played(1, clock), Played(2, clock)
    sink.refuse(grpc.StatusCode.UNAVAILABLE)
    replica = Replica(cell, sink.address, clock, spans_max=3)
    async with replica.committing():
        relay = replica.tracing.relay
        await relay.run_once()
        clock.pass_time(minutes=10)
        await relay.run_once()  # the sweep at the start is over
        async with replica.tracing.running():
            await replica.commit(full.start(), full.step(), full.step())
            await replica.commit(waiting.start(), waiting.step(then=Then.SUSPEND))
            await replica.tracing.tracer.drained()
            sink.accept()
            await until(lambda: is_true(replica.tracing.exporter.is_reachable))
        assert not spans_of(sink, 2)
        clock.pass_time(minutes=3)
        await relay.run_once()
    assert names(sink, 2) == ["run accepted", "attempt step-1", "step step-1"]


async def test_a_sweep_that_meets_no_collector_is_made_again(
    cell: MemoryCellStore, sink: OtlpSink, clock: Clock
) -> None:
    idle = Played(1, clock)
    async with Replica(cell, sink.address, clock, hears=False).committing() as killed:
        await killed.commit(idle.start(), idle.step(then=Then.SUSPEND))
    async with Replica(cell, sink.address, clock).committing() as other:
        await other.tracing.relay.run_once()
        clock.pass_time(minutes=3)
        sink.refuse(grpc.StatusCode.UNAVAILABLE, times=1)
        with pytest.raises(CollectorUnreachable):
            await other.tracing.relay.run_once()
        await other.tracing.relay.run_once()
    assert names(sink, 1) == ["run accepted", "attempt step-1", "step step-1"]
