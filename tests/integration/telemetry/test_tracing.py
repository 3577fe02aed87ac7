"""What replicas commit reaches a collector, whatever happens in between; on the model store and on Postgres."""

import asyncio

import grpc
import pytest

from holdfast.api.v1 import value_pb2
from holdfast.errors import CollectorRefused, CollectorUnavailable
from holdfast.statuses import Then
from holdfast_coordinator.domain.commands import SendSignal
from holdfast_coordinator.domain.mail import SignalMail
from holdfast_coordinator.domain.rows import JournalRow
from holdfast_coordinator.export import marks, tracer
from holdfast_coordinator.store.port import CellStore, StoreUnavailable
from holdfast_coordinator.telemetry.identity import facts_of
from holdfast_coordinator.telemetry.spans import Span, SpanKind, SpanStatus
from tests.support.memory_cell_store import MemoryCellStore
from tests.support.otlp_sink import OtlpSink
from tests.support.traced_cells import (
    THREE_STEPS,
    Clock,
    Heard,
    Played,
    Replica,
    commit,
    is_true,
    marks_left,
    names,
    none_left,
    spans_of,
    until,
    writer_of,
    writing,
)

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
        await until(lambda: none_left(store))
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
        await sink.until(lambda sink: sink.named("step step-1"))
        await commit(other, run.step())
        await replica.commit(run.step(), run.close())
        await until(lambda: none_left(store))
    assert names(sink, 1) == THREE_STEPS
    assert len(sink.spans) == len(THREE_STEPS), "each came once"


async def test_a_signal_whose_body_only_the_database_has_read_is_exported_from_the_journal(
    store: CellStore, sink: OtlpSink, clock: Clock
) -> None:
    run = Played(1, clock)
    large = value_pb2.Payload(data=b"x" * 100_000).SerializeToString()
    async with Replica(store, sink.address, clock).running() as replica:
        await replica.commit(run.start(), run.step())
        await sink.until(lambda sink: sink.named("step step-1"))
        for number in (1, 2):
            await replica.commit(SendSignal(run.run_id, f"req-{number}", SignalMail("paid", large)))
        await replica.commit(run.step(), run.consumed(1))
        await replica.commit(run.consumed(2), run.step(), run.close())
        await until(lambda: none_left(store))
    assert set(names(sink, 1)) == {*THREE_STEPS, "signal paid"}
    assert len(sink.named("signal paid")) == 2
    assert len(sink.spans) == len(spans_of(sink, 1)), "each came once"
    assert {span.attributes["holdfast.input.bytes"] for span in sink.named("signal paid")} == {100_000}


async def test_runs_that_were_forgotten_are_built_anew_from_their_journals(
    cell: MemoryCellStore, sink: OtlpSink, clock: Clock, monkeypatch: pytest.MonkeyPatch
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
    cell: MemoryCellStore, sink: OtlpSink, clock: Clock
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
    run, taken = Played(1, clock), list[int]()
    async with Replica(store, sink.address, clock, taken=taken.append).running() as first:
        await first.commit(run.start(), run.step())
        await until(lambda: is_true(sum(taken) == 3))  # by the answer of the collector
        assert await store.exported_seq(run.run_id) == 0
    assert await store.exported_seq(run.run_id) == 3, "written when it stopped, too"
    async with Replica(store, sink.address, clock).running() as second:
        await second.commit(run.step(), run.step(), run.close())
    assert names(sink, 1) == THREE_STEPS
    assert len(sink.spans) == len(THREE_STEPS), "each came once"


async def test_marks_of_open_runs_are_written_after_a_minute(
    cell: MemoryCellStore, sink: OtlpSink, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marks, "CLOSED_SECONDS", 0.01)
    run = Played(1, clock)
    async with Replica(cell, sink.address, clock).running() as replica:
        await replica.commit(run.start(), run.step())
        await sink.until(lambda sink: sink.named("step step-1"))
        assert not cell.trace_marks
        monkeypatch.setattr(marks, "OPEN_SECONDS", 0.0)
        await until(lambda: is_true(run.run_id in cell.trace_marks))
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
    cell: MemoryCellStore, sink: OtlpSink, clock: Clock
) -> None:
    runs = [Played(number, clock) for number in range(1, 6)]
    sink.refuse(grpc.StatusCode.UNAVAILABLE)
    replica = Replica(cell, sink.address, clock, spans_max=8)
    async with replica.running():
        for run in runs:
            await replica.commit(run.start(), run.step(), run.step(), run.step(), run.close())
        await replica.tracing.tracer.drained()
        assert not replica.tracing.exporter.has_room
        sink.accept()
        clock.pass_time(minutes=1)
        await until(lambda: none_left(cell))
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
        await until(lambda: is_true(not replica.tracing.exporter.is_reachable))
        assert not await replica.tracing.relay.run_once(), "the relay rests while no collector is there"
        await sink.start()
        await until(lambda: none_left(store))
    assert [names(sink, number) for number in range(1, 6)] == [THREE_STEPS] * 5
    assert not replica.dropped


async def test_a_replica_that_stops_exports_what_it_has_and_leaves_the_rest_to_others(
    cell: MemoryCellStore, sink: OtlpSink, clock: Clock
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


async def test_rows_that_find_no_room_in_the_line_are_left_to_the_relay(
    cell: MemoryCellStore, sink: OtlpSink, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracer, "ROWS_MAX", 7)
    runs, suspended = [Played(number, clock) for number in (1, 2, 3)], Played(4, clock)
    replica = Replica(cell, sink.address, clock)
    async with replica.committing():
        await replica.tracing.relay.run_once()
        clock.pass_time(minutes=3)
        await replica.tracing.relay.run_once()  # the sweep at the start is over
        for run in runs:
            await replica.commit(run.start(), run.step(), run.step(), run.step(), run.close())
        await replica.commit(suspended.start(), suspended.step(then=Then.SUSPEND))
        async with replica.tracing.running():
            await replica.tracing.tracer.drained()
        assert names(sink, 1) == THREE_STEPS
        assert not names(sink, 3)
        clock.pass_time(minutes=3)
        await replica.tracing.relay.run_once()
    assert [names(sink, number) for number in (1, 2, 3)] == [THREE_STEPS] * 3
    assert names(sink, 4) == ["run accepted", "attempt step-1", "step step-1"]
    assert not [mark for mark in cell.trace_marks.values() if mark.relay_at is not None]


async def test_many_runs_of_another_replica_are_rebuilt_a_few_at_once_and_the_others_later(
    cell: MemoryCellStore, sink: OtlpSink, clock: Clock
) -> None:
    runs = [Played(number, clock) for number in range(1, 31)]
    other = writer_of(cell, clock, None)
    async with writing(other):
        await asyncio.gather(*(commit(other, run.start(), run.step()) for run in runs))
    replica = Replica(cell, sink.address, clock)
    async with replica.running():
        await asyncio.gather(*(replica.commit(run.step()) for run in runs))
        await asyncio.gather(*(replica.commit(run.step(), run.close()) for run in runs))
        await replica.tracing.tracer.drained()
    clock.pass_time(minutes=1)
    async with Replica(cell, sink.address, clock).committing() as later:
        while await later.tracing.relay.run_once():
            pass
    assert [names(sink, number) for number in range(1, 31)] == [THREE_STEPS] * 30


async def test_a_run_that_cannot_be_rebuilt_now_is_rebuilt_at_its_next_row(clock: Clock, sink: OtlpSink) -> None:
    class Flaky(MemoryCellStore):
        failures = 1

        async def exported_seq(self, run_id: str) -> int:
            if self.failures:
                self.failures -= 1
                raise StoreUnavailable("it restarts")
            return await super().exported_seq(run_id)

    cell, run = Flaky(clock), Played(1, clock)
    other = writer_of(cell, clock, None)
    async with writing(other):
        await commit(other, run.start(), run.step())
    async with Replica(cell, sink.address, clock).running() as replica:
        await replica.commit(run.step())
        await replica.tracing.tracer.drained()
        await replica.commit(run.step(), run.close())
    assert names(sink, 1) == THREE_STEPS
    assert not cell.trace_marks


async def test_a_rebuild_whose_first_spans_were_refused_exports_no_later_ones_as_if_all_had_arrived(
    clock: Clock, sink: OtlpSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    class RowByRow(MemoryCellStore):
        async def journal(self, run_id: str, after: int, max_bytes: int) -> tuple[list[JournalRow], bool]:
            if after >= 3:  # behind the first step
                await until(lambda: is_true(replica.dropped))
            return await super().journal(run_id, after, 1)

    monkeypatch.setattr(tracer, "SUBMITTED_MAX", 1)
    sink.refuse(grpc.StatusCode.INTERNAL, times=1)
    cell, run = RowByRow(clock), Played(1, clock)
    other = writer_of(cell, clock, None)
    async with writing(other):
        await commit(other, run.start(), run.step())
    replica = Replica(cell, sink.address, clock)
    async with replica.running():
        await replica.commit(run.step(), run.step(), run.close())
        await replica.tracing.tracer.drained()
    assert set(cell.trace_marks) == {run.run_id}
    clock.pass_time(minutes=1)
    async with Replica(cell, sink.address, clock).committing() as later:
        await later.tracing.relay.run_once()
    assert names(sink, 1) == THREE_STEPS


async def test_a_database_that_is_gone_keeps_marks_waiting_and_nothing_else(
    clock: Clock, sink: OtlpSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone(MemoryCellStore):
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
        await until(lambda: none_left(cell))


async def test_what_two_replicas_export_is_the_same_to_the_byte(
    cell: MemoryCellStore, sink: OtlpSink, clock: Clock
) -> None:
    run = Played(1, clock)
    async with Replica(cell, sink.address, clock).running() as first:
        await first.commit(run.start(), run.step(), run.step(), run.step(), run.close())
    from_memory = {span.span_id: span.raw for span in sink.spans}
    sink.spans.clear()
    async with Replica(cell, sink.address, clock).committing() as second:
        assert await second.tracing.exports.export(cell.runs[run.run_id]) == len(THREE_STEPS)
    assert {span.span_id: span.raw for span in sink.spans} == from_memory


async def test_a_span_of_no_entry_is_exported_and_leaves_no_mark(
    cell: MemoryCellStore, sink: OtlpSink, clock: Clock
) -> None:
    run = Played(1, clock)
    async with Replica(cell, sink.address, clock, hears=False).running() as replica:
        await replica.commit(run.start())
        facts = facts_of(cell.runs[run.run_id])
        late = Span(facts, facts.trace.trace_id, b"\x07" * 8, facts.trace.span_id, "late result", SpanKind.INTERNAL,
                    1, 1, SpanStatus.UNSET, (), ())  # fmt: skip
        replica.tracing.emit(late)
    assert names(sink, 1) == ["late result"]
    assert not cell.trace_marks


async def test_an_export_that_the_collector_will_never_take_says_so(
    cell: MemoryCellStore, sink: OtlpSink, clock: Clock
) -> None:
    run = Played(1, clock)
    async with Replica(cell, sink.address, clock).committing() as replica:
        await replica.commit(run.start(), run.close())
        sink.refuse(grpc.StatusCode.UNIMPLEMENTED, "unknown service", times=1)
        with pytest.raises(CollectorRefused, match=r"refuses spans .*unknown service") as refused:
            await replica.tracing.exports.export(cell.runs[run.run_id])
        assert "again" not in str(refused.value)
        sink.refuse(grpc.StatusCode.UNAVAILABLE, times=1)
        with pytest.raises(CollectorUnavailable, match="export again"):
            await replica.tracing.exports.export(cell.runs[run.run_id])
