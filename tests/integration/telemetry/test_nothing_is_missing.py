"""Whatever happens to replicas and their collector, in the end each span is there, and its repeats are the same."""

import asyncio
import random
from datetime import timedelta

import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from holdfast.backoff import Exponential
from holdfast.statuses import RunStatus
from holdfast_coordinator.domain.commands import CommitTransition
from holdfast_coordinator.export import marks, relay, tracer
from holdfast_coordinator.export.relay import RelayLimits
from holdfast_coordinator.export.span_export import SpanExport
from holdfast_coordinator.telemetry.identity import trace_of
from holdfast_coordinator.telemetry.otlp_spans import export_request
from holdfast_coordinator.telemetry.sinks import Accepted, CollectorUnreachable
from holdfast_coordinator.telemetry.spans import SpanRules
from holdfast_coordinator.wire.journals import journal_message
from tests.support.memory_cell_store import MemoryCellStore
from tests.support.otlp_sink import ReceivedSpan, received_spans
from tests.support.traced_cells import Clock, Played, commit, none_left, until, writer_of

ACTIONS = 150
RUNS_OPEN_MAX = 6
QUICK = Exponential(base=2, max=timedelta(seconds=0.02), first_exponent=-9)


class UnreliableCollector:
    """Takes requests, but for outages, and for answers that are lost."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.is_there = True
        self.is_reliable = False
        self.spans: dict[tuple[str, str], ReceivedSpan] = {}
        self.repeats = 0

    async def export_traces(self, request: bytes) -> Accepted:
        """See SpanSink."""
        await asyncio.sleep(self._chance.choice([0, 0.001, 0.01]))
        if not self.is_there or (not self.is_reliable and self._chance.random() < 0.1):
            raise CollectorUnreachable("here", "it is not there")
        for span in received_spans(trace_service_pb2.ExportTraceServiceRequest.FromString(request)):
            known = self.spans.setdefault((span.trace_id, span.span_id), span)
            assert known.raw == span.raw, (known, span)
            self.repeats += known is not span
        if not self.is_reliable and self._chance.random() < 0.1:
            raise CollectorUnreachable("here", "its answer was lost")
        return Accepted()


class Killable:
    """A replica that stops as a killed process does: whatever it had in memory is gone."""

    def __init__(self, cell: MemoryCellStore, collector: UnreliableCollector, clock: Clock, *, spans_max: int) -> None:
        self.given_up: list[str] = []
        self.tracing = SpanExport(
            {"00": cell}, collector, SpanRules(), clock=clock, collector="here", limits=RelayLimits(),
            dropped=lambda count, reason: self.given_up.append(reason), spans_max=spans_max,
        )  # fmt: skip
        self.tracing.exporter._backoff = QUICK  # outages of these tests last milliseconds, and so do runs
        self.tracing.exporter._flush_seconds = 0.002
        self.writer = writer_of(cell, clock, self.tracing.tracer.committed)
        parts = [self.tracing.tracer, self.tracing.exporter, self.tracing.marks, self.tracing.relay, self.writer]
        self._tasks = [asyncio.create_task(part.run()) for part in parts]

    async def kill(self) -> None:
        """Between two of its instructions."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.mark.parametrize("seed", range(8))
async def test_no_span_is_missing_after_crashes_and_outages(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance, clock = random.Random(seed), Clock()
    cell, collector = MemoryCellStore(clock), UnreliableCollector(chance)
    spans_max = chance.choice([10, 50, 20_000])
    monkeypatch.setattr(tracer, "RUNS_MAX", chance.choice([2, 10_000]))
    monkeypatch.setattr(tracer, "ROWS_MAX", chance.choice([5, 50_000]))
    monkeypatch.setattr(tracer, "REBUILDS_MAX", chance.choice([1, 4]))
    monkeypatch.setattr(tracer, "GATHER_SECONDS", chance.choice([0.002, 0.03]))
    monkeypatch.setattr(marks, "CLOSED_SECONDS", 0.005)
    monkeypatch.setattr(marks, "OPEN_SECONDS", 0.01)
    monkeypatch.setattr(relay, "PAUSE_SECONDS", 0.01)

    def replica() -> Killable:
        return Killable(cell, collector, clock, spans_max=spans_max)

    replicas, given_up = [replica(), replica()], []
    alive: list[Played] = []
    runs = 0
    for _ in range(ACTIONS):
        match chance.choices(["run", "time", "turn", "kill", "outage"], [60, 8, 25, 3, 4])[0]:
            case "run" if len(alive) < RUNS_OPEN_MAX and chance.random() < 0.4:
                runs += 1
                alive.append(Played(runs, clock))
                await commit(chance.choice(replicas).writer, alive[-1].start(sampled=chance.random() < 0.8))
            case "run" if alive:
                run = chance.choice(alive)
                await commit(chance.choice(replicas).writer, *_next_of(run, chance))
                alive = [one for one in alive if one.run_id in cell.open_runs]
            case "time":
                clock.pass_time(seconds=chance.choice([1, 20, 40, 200]))
            case "turn":
                await asyncio.sleep(chance.choice([0, 0.001, 0.02, 0.05]))
            case "kill":
                place = chance.randrange(2)
                await replicas[place].kill()
                given_up += replicas[place].given_up
                replicas[place] = replica()
            case "outage":
                collector.is_there = not collector.is_there
    for run in alive:
        await commit(chance.choice(replicas).writer, run.close())
    for one in replicas:
        await one.kill()
        given_up += one.given_up

    collector.is_there = collector.is_reliable = True
    from_memory = len(collector.spans)
    clock.pass_time(minutes=2)
    last = replica()
    await until(lambda: none_left(cell))
    await last.kill()

    print(
        f"seed {seed}: {runs} runs, {from_memory} + {len(collector.spans) - from_memory} spans, "
        f"{collector.repeats} repeated"
    )
    assert from_memory, "the faults left no time to export anything"
    assert set(given_up + last.given_up) <= {"queue_full"}, "the relay gave nothing up"
    assert not cell.trace_marks, "no mark is left for ever"
    assert {key: span.raw for key, span in collector.spans.items()} == _expected(cell)


def _next_of(run: Played, chance: random.Random) -> list[CommitTransition]:
    match chance.choices(["step", "signal", "close"], [60, 20, 20])[0]:
        case "step":
            return [run.step()]
        case "signal":
            return run.awaited_signal(run.seq)
        case _:
            return [run.close(chance.choice([RunStatus.COMPLETED, RunStatus.FAILED]))]


def _expected(cell: MemoryCellStore) -> dict[tuple[str, str], bytes]:
    """The spans of all runs that are sampled or failed, from their journals."""
    found = {}
    for run_id, record in cell.runs.items():
        trace = trace_of(record, SpanRules())
        spans = [span for row in cell.journals[run_id] for span in trace.feed(journal_message(row))]
        if not trace.facts.trace.is_sampled and cell.run_results[run_id].status is not RunStatus.FAILED:
            continue
        request = trace_service_pb2.ExportTraceServiceRequest.FromString(export_request(spans))
        found |= {(span.trace_id, span.span_id): span.raw for span in received_spans(request)}
    return found
