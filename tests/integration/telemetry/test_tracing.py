"""What replicas commit reaches a collector, whatever happens in between; on the model store and on Postgres."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import grpc
import pytest
from traced_cells import (
    Clock,
    Heard,
    Played,
    Replica,
    commit,
    marks_left,
    names,
    spans_of,
    until,
    writer_of,
    writing,
)

from holdfast.statuses import RunStatus
from holdfast_coordinator.domain.commands import Then
from holdfast_coordinator.store.cell import PostgresCellStore
from holdfast_coordinator.store.port import CellStore, StoreUnavailable
from holdfast_coordinator.telemetry.identity import IdentityRules
from holdfast_coordinator.tracing import marks, tracer
from holdfast_coordinator.tracing.relay import RelayLimits
from tests.model.cell import ModelCellStore
from tests.otlp_sink import OtlpSink, otlp_sink

THREE_STEPS = [
    "run accepted", "attempt step-1", "step step-1", "attempt step-2", "step step-2", "attempt step-3", "step step-3",
    "run order",
]  # fmt: skip


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def sink() -> AsyncIterator[OtlpSink]:
    async with otlp_sink() as sink:
        yield sink


@pytest.fixture(params=["model", "postgres"])
async def store(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[CellStore]:
    """Each cell store, where it matters."""
    if request.param == "model":
        yield ModelCellStore(clock)
    else:
        async with PostgresCellStore.open(request.getfixturevalue("database"), "00") as cell:
            yield cell


@pytest.fixture
def cell(clock: Clock) -> ModelCellStore:
    return ModelCellStore(clock)


# The fast path


async def test_a_run_is_exported_as_it_goes_and_its_mark_is_deleted(
    store: CellStore, sink: OtlpSink, clock: Clock
) -> None:
    run = Played(1, clock)
    async with Replica(store, sink.address, clock).running() as replica:
        await replica.commit(run.start(), run.step())
        await sink.until(lambda sink: sink.named("step step-1"))
        assert not sink.named("run order")
        await replica.commit(run.step(), run.step(), run.close())
        assert await marks_left(store) == 1
        await sink.until(lambda sink: sink.named("run order"))
        await until(lambda: _none_left(store))
    assert names(sink, 1) == THREE_STEPS
    assert len(sink.spans) == len(THREE_STEPS), "each came once"
    (root,) = sink.named("run order")
    assert (root.parent_id, root.status, root.service) == ("", "OK", "holdfast")
    assert {span.parent_id for span in sink.named("step step-1")} == {root.span_id}


async def test_what_another_replica_has_committed_in_between_is_exported_from_the_journal(
    store: CellStore, sink: OtlpSink, clock: Clock
) -> None:
    run = Played(1, clock)
    other = writer_of(store, clock, None)
    async with Replica(store, sink.address, clock).running() as replica, writing(other):
        await replica.commit(run.start(), run.step())
        await commit(other, run.step())
        await replica.commit(run.step(), run.close())
        await until(lambda: _none_left(store))
    assert names(sink, 1) == THREE_STEPS


async def test_runs_that_were_forgotten_are_built_anew_from_their_journals(
    cell: ModelCellStore, sink: OtlpSink, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracer, "RUNS_MAX", 1)
    runs = [Played(number, clock) for number in (1, 2, 3)]
    async with Replica(cell, sink.address, clock).running() as replica:
        for run in runs:
            await replica.commit(run.start())
        for _ in range(3):
            for run in runs:
                await replica.commit(run.step())
                await replica.tracing.tracer.drained()
        for run in runs:
            await replica.commit(run.close())
            await replica.tracing.tracer.drained()
    assert [names(sink, number) for number in (1, 2, 3)] == [THREE_STEPS] * 3
    assert not cell.trace_marks


async def test_rows_that_a_rebuild_has_read_already_are_passed_over(
    cell: ModelCellStore, sink: OtlpSink, clock: Clock
) -> None:
    run, heard = Played(1, clock), Heard()
    replica, first = Replica(cell, sink.address, clock), writer_of(cell, clock, heard)
    async with replica.running(), writing(first):
        await commit(first, run.start(), run.step(), run.step(), run.step())
        for row in heard.rows[1:]:
            # The journal has all four when the first of them is told.
            replica.tracing.tracer.committed([row], ())
            await replica.tracing.tracer.drained()
    assert names(sink, 1) == THREE_STEPS[:-1]
    assert len(sink.spans) == len(THREE_STEPS) - 1, "each came once"


async def test_an_open_run_is_marked_once_a_minute_and_a_rebuild_begins_behind_its_mark(
    store: CellStore, sink: OtlpSink, clock: Clock
) -> None:
    run = Played(1, clock)
    async with Replica(store, sink.address, clock).running() as first:
        await first.commit(run.start(), run.step())
        await _done(first)
        assert await store.exported_seq(run.run_id) == 0
    assert await store.exported_seq(run.run_id) == 3, "written when it stopped, too"
    async with Replica(store, sink.address, clock).running() as second:
        await second.commit(run.step(), run.step(), run.close())
    assert names(sink, 1) == THREE_STEPS
    assert len(sink.spans) == len(THREE_STEPS), "each came once"


async def test_marks_of_open_runs_are_written_after_a_minute(
    cell: ModelCellStore, sink: OtlpSink, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marks, "CLOSED_SECONDS", 0.01)
    run = Played(1, clock)
    async with Replica(cell, sink.address, clock).running() as replica:
        await replica.commit(run.start(), run.step())
        await sink.until(lambda sink: sink.named("step step-1"))
        assert not cell.trace_marks
        monkeypatch.setattr(marks, "OPEN_SECONDS", 0.0)
        await until(lambda: _is(run.run_id in cell.trace_marks))
        assert await cell.exported_seq(run.run_id) == 3
        assert cell.trace_marks[run.run_id].relay_at is None, "of an open run: no business of the relay"


async def test_a_mark_of_a_run_that_was_closed_elsewhere_meanwhile_is_not_left_for_ever(
    store: CellStore, sink: OtlpSink, clock: Clock
) -> None:
    run = Played(1, clock)
    async with Replica(store, sink.address, clock).running() as first:
        await first.commit(run.start(), run.step())
        await sink.until(lambda sink: sink.named("step step-1"))
        async with Replica(store, sink.address, clock).running() as second:
            await second.commit(run.close())
    assert await marks_left(store) == 0
    assert await store.exported_seq(run.run_id) == 0


async def test_a_run_that_is_not_sampled_costs_nothing_and_is_not_exported(
    store: CellStore, sink: OtlpSink, clock: Clock
) -> None:
    run, heard = Played(1, clock), Heard()
    writer = writer_of(store, clock, heard)
    async with Replica(store, sink.address, clock).running(), writing(writer):
        await commit(writer, run.start(sampled=False), run.step(), run.close())
    assert not heard.rows
    assert await marks_left(store) == 0
    assert not sink.spans


# Collectors that are full, gone, or say no


async def test_what_has_no_room_in_memory_is_exported_by_the_relay(
    cell: ModelCellStore, sink: OtlpSink, clock: Clock
) -> None:
    runs = [Played(number, clock) for number in range(1, 6)]
    sink.refuse(grpc.StatusCode.UNAVAILABLE)
    replica = Replica(cell, sink.address, clock, spans_max=9)
    async with replica.running():
        for run in runs:
            await replica.commit(run.start(), run.step(), run.step(), run.step(), run.close())
        await replica.tracing.tracer.drained()
        assert not replica.tracing.exporter.has_room
        sink.accept()
        clock.pass_time(minutes=1)
        await until(lambda: _none_left(cell))
    assert [names(sink, number) for number in range(1, 6)] == [THREE_STEPS] * 5
    assert {reason for _, reason in replica.dropped} <= {"queue_full"}


async def test_after_an_outage_everything_arrives_and_no_mark_is_left(
    store: CellStore, sink: OtlpSink, clock: Clock
) -> None:
    runs = [Played(number, clock) for number in range(1, 6)]
    await sink.stop()
    replica = Replica(store, sink.address, clock)
    async with replica.running():
        for run in runs:
            await replica.commit(run.start(), run.step(), run.step(), run.step(), run.close())
        await replica.tracing.tracer.drained()
        await until(lambda: _is(not replica.tracing.exporter.is_reachable))
        assert not await replica.tracing.relay.run_once(), "the relay rests while no collector is there"
        await sink.start()
        await until(lambda: _none_left(store))
    assert [names(sink, number) for number in range(1, 6)] == [THREE_STEPS] * 5
    assert not replica.dropped


async def test_a_replica_that_stops_exports_what_it_has_and_leaves_the_rest_to_others(
    cell: ModelCellStore, sink: OtlpSink, clock: Clock
) -> None:
    finished, left = Played(1, clock), Played(2, clock)
    async with Replica(cell, sink.address, clock).running() as replica:
        await replica.commit(finished.start(), finished.step(), finished.step(), finished.step(), finished.close())
    assert names(sink, 1) == THREE_STEPS
    assert not cell.trace_marks
    await sink.stop()
    async with Replica(cell, sink.address, clock).running() as replica:
        await replica.commit(left.start(), left.step(), left.step(), left.step(), left.close())
    assert set(cell.trace_marks) == {left.run_id}
    await sink.start()
    clock.pass_time(seconds=31)
    async with Replica(cell, sink.address, clock).committing() as replica:
        await replica.tracing.relay.run_once()
    assert names(sink, 2) == THREE_STEPS
    assert not cell.trace_marks


async def test_a_database_that_is_gone_keeps_marks_waiting_and_nothing_else(
    clock: Clock, sink: OtlpSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone(ModelCellStore):
        is_gone = False

        async def delete_marks(self, run_ids: object) -> int:
            if self.is_gone:
                raise StoreUnavailable("it restarts")
            return await super().delete_marks(run_ids)  # type: ignore[arg-type]

    monkeypatch.setattr(marks, "CLOSED_SECONDS", 0.01)
    cell, run, next_one = Gone(clock), Played(1, clock), Played(2, clock)
    async with Replica(cell, sink.address, clock).running() as replica:
        cell.is_gone = True
        await replica.commit(run.start(), run.close())
        await sink.until(lambda sink: sink.of_run(run.run_id))
        await replica.commit(next_one.start(), next_one.close())
        await sink.until(lambda sink: sink.of_run(next_one.run_id))
        assert len(cell.trace_marks) == 2
        cell.is_gone = False
        await until(lambda: _none_left(cell))


# The relay


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


async def test_what_two_replicas_export_is_the_same_to_the_byte(
    cell: ModelCellStore, sink: OtlpSink, clock: Clock
) -> None:
    run = Played(1, clock)
    async with Replica(cell, sink.address, clock).running() as first:
        await first.commit(run.start(), run.step(), run.step(), run.step(), run.close())
    from_memory = {span.span_id: span.raw for span in sink.spans}
    sink.spans.clear()
    async with Replica(cell, sink.address, clock).committing() as second:
        assert await second.tracing.exports.export(cell.runs[run.run_id]) == len(THREE_STEPS)
    assert {span.span_id: span.raw for span in sink.spans} == from_memory


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
    await _killed_after(store, clock, runs)
    clock.pass_time(minutes=1)
    async with Replica(store, sink.address, clock, limits=RelayLimits(runs=3)).committing() as replica:
        await replica.tracing.relay.run_once()
    assert replica.dropped == [(5, "too_many")]
    assert {span.attributes["holdfast.run.id"] for span in sink.spans} == {run.run_id for run in runs[5:]}
    assert await marks_left(store) == 0


async def test_what_waits_for_a_collector_stays_bounded_while_it_is_gone(
    cell: ModelCellStore, sink: OtlpSink, clock: Clock
) -> None:
    first, *runs = [Played(number, clock) for number in range(1, 10)]
    sink.refuse(grpc.StatusCode.UNAVAILABLE)
    async with Replica(cell, sink.address, clock, limits=RelayLimits(runs=3)).running() as replica:
        await replica.commit(first.start(), first.close())
        await until(lambda: _is(not replica.tracing.exporter.is_reachable))
        await _killed_after(cell, clock, runs)
        clock.pass_time(minutes=1)
        await until(lambda: _is(replica.dropped))
    assert replica.dropped == [(6, "too_many")]
    assert set(cell.trace_marks) == {run.run_id for run in runs[5:]}


async def test_a_run_that_a_collector_refuses_is_given_up_and_counted(
    cell: ModelCellStore, sink: OtlpSink, clock: Clock
) -> None:
    run = Played(1, clock)
    async with Replica(cell, sink.address, clock, hears=False).committing() as killed:
        await killed.commit(run.start(), run.close())
    clock.pass_time(minutes=1)
    sink.refuse(grpc.StatusCode.INVALID_ARGUMENT)
    async with Replica(cell, sink.address, clock).committing() as replica:
        await replica.tracing.relay.run_once()
    assert replica.dropped == [(1, "refused")]
    assert not cell.trace_marks


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
    assert other.dropped == [(1, "refused")]
    assert await marks_left(store) == 0
    assert names(sink, 2) == THREE_STEPS


# Open runs


async def test_idle_open_runs_that_a_crash_left_behind_are_swept_up(
    cell: ModelCellStore, sink: OtlpSink, clock: Clock
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
    cell: ModelCellStore, sink: OtlpSink, clock: Clock
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
            await _done(replica)
        assert not spans_of(sink, 2)
        clock.pass_time(minutes=3)
        await relay.run_once()
    assert names(sink, 2) == ["run accepted", "attempt step-1", "step step-1"]


async def test_a_sweep_that_meets_no_collector_is_made_again(
    cell: ModelCellStore, sink: OtlpSink, clock: Clock
) -> None:
    idle = Played(1, clock)
    async with Replica(cell, sink.address, clock, hears=False).committing() as killed:
        await killed.commit(idle.start(), idle.step(then=Then.SUSPEND))
    async with Replica(cell, sink.address, clock).committing() as other:
        await other.tracing.relay.run_once()
        clock.pass_time(minutes=3)
        sink.refuse(grpc.StatusCode.UNAVAILABLE, times=1)
        with pytest.raises(Exception, match="cannot be reached"):
            await other.tracing.relay.run_once()
        await other.tracing.relay.run_once()
    assert names(sink, 1) == ["run accepted", "attempt step-1", "step step-1"]


async def _none_left(store: CellStore) -> bool:
    return await marks_left(store) == 0


async def _is(fact: bool) -> bool:
    return fact


async def _done(replica: Replica) -> None:
    """Until all that it has committed is with the collector, and it knows."""
    await replica.tracing.tracer.drained()
    await until(lambda: _is(replica.tracing.exporter.spans_waiting == 0))


async def _killed_after(store: CellStore, clock: Clock, runs: Sequence[Played]) -> None:
    """Runs that a replica closed, a second apart, which was killed before it exported anything."""
    writer = writer_of(store, clock, None)
    async with writing(writer):
        for run in runs:
            await commit(writer, run.start(), run.close())
            clock.pass_time(seconds=1)
