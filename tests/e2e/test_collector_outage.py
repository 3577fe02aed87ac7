"""A collector that is away, refuses, or swallows everything hurts nobody.

One warning says so, with the address; results and throughput are the same, memory is bounded, and what was missed
arrives when the collector is back.
"""

import asyncio
import json
import re
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import pytest

from holdfast.client import Client
from tests.support import flows_traces as flows
from tests.support.otlp_sink import OtlpSink, otlp_sink
from tests.support.processes import Process, coordinator_process, free_port, worker_process
from tests.support.traces import rules
from tests.support.traces.seen import SinkBackend
from tests.support.traces.stage import exporting, listens_on, rss_bytes
from tests.support.watching import until

RUNS = 200
STEPS = 5
TURNS = 2
WARM_UP = 20
RATIO_MIN = 0.5
"""Of the throughput without a collector. Generous, for others use this machine too: `make bench` has the real bound."""

GROWTH_BYTES_MAX = 64 * 1024 * 1024
SOON = {"OTEL_EXPORTER_OTLP_TIMEOUT": "500"}
"""What hangs is given up after half a second, so that the tests need not wait for the usual ten."""


JSON = "--log-json"


@pytest.mark.feature("F125")
@pytest.mark.alone
async def test_a_black_hole_under_load_changes_neither_results_nor_throughput_nor_memory(module_database: str) -> None:
    async with (
        otlp_sink() as sink,
        _loaded(coordinator_process(module_database), "without") as without,
        _loaded(exporting(module_database, sink.url, JSON, **SOON), "within") as within,
    ):
        sink.hang()
        for loaded in (without, within):
            await loaded.take(WARM_UP)  # connections, code and caches
        before = rss_bytes(within.coordinator.pid)
        rates: dict[str, list[float]] = {"without": [], "within": []}
        for _ in range(TURNS):
            for loaded in (without, within):
                rates[loaded.queue].append(await loaded.take(RUNS))
        assert rss_bytes(within.coordinator.pid) - before < GROWTH_BYTES_MAX
        assert max(rates["within"]) > RATIO_MIN * max(rates["without"]), rates
        await within.coordinator.wait_for_line("collector_unreachable")
        assert _warnings(within.coordinator) == ["collector_unreachable"]
        assert sink.spans == []

        sink.accept()
        await within.coordinator.wait_for_line("collector_reachable", seconds=20)
        runs = WARM_UP + TURNS * RUNS
        await sink.until(lambda sink: len({span.span_id for span in sink.named("run load")}) == runs, timeout=30)
        assert [event["message"] for event in _events(within.coordinator)].count("collector_reachable") == 1
        assert _warnings(within.coordinator) == ["collector_unreachable"]
        backend = SinkBackend(sink)
        rules.check([span for trace_id in _traces(sink) for span in await backend.trace(trace_id)])


@pytest.mark.feature("F125")
async def test_a_collector_that_is_not_there_yet_is_one_warning_with_its_address(module_database: str) -> None:
    """The coordinator serves at once, and exports what it kept when the collector has come."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    async with _loaded(exporting(module_database, f"http://{address}", JSON), "early") as loaded:
        await loaded.take(3)
        await loaded.coordinator.wait_for_line("collector_unreachable")
        (warning,) = [event for event in _events(loaded.coordinator) if event["level"] == "WARNING"]
        assert warning["address"] == address
        assert "spans_waiting" in warning
        async with otlp_sink(port=port) as sink:
            await sink.until(lambda sink: len(sink.named("run load")) == 3, timeout=20)
            await loaded.coordinator.wait_for_line("collector_reachable")
            assert _warnings(loaded.coordinator) == ["collector_unreachable"]


async def test_what_a_collector_refuses_is_counted_and_one_warning(module_database: str) -> None:
    async with (
        otlp_sink() as sink,
        _loaded(exporting(module_database, sink.url, JSON, "--metrics-port", "0"), "refused") as loaded,
    ):
        sink.refuse(grpc.StatusCode.PERMISSION_DENIED, "no token, no spans")
        await loaded.take(2)
        await sink.until(lambda sink: sink.counts.refused)
        await loaded.take(2)
        await sink.until(lambda sink: sink.counts.refused > 1)
        refused = await until(lambda: _dropped(loaded.coordinator, "refused"), lambda count: count > 0)
        assert _warnings(loaded.coordinator) == ["spans_refused"]
        (warning,) = [event for event in _events(loaded.coordinator) if event["level"] == "WARNING"]
        assert sink.address in str(warning["why"])
        assert "no token, no spans" in str(warning["why"])
        assert 0 < int(str(warning["spans"])) <= refused
        sink.accept()
        await loaded.take(1)
        await sink.until(lambda sink: sink.named("run load"))


@dataclass(slots=True, frozen=True)
class _Loaded:
    """A coordinator with a worker of its own. queue: what they are called."""

    coordinator: Process
    client: Client
    queue: str

    async def take(self, runs: int) -> float:
        """Has so many runs done; how many steps a second that makes."""
        start = flows.load.with_options(queue=self.queue)
        began = time.monotonic()
        handles = await self.client.start_many(start, [STEPS] * runs)
        results = await self.client.wait_many(handles, timeout=60)
        seconds = time.monotonic() - began
        assert results == [STEPS * (STEPS - 1)] * runs
        return runs * STEPS / seconds


@asynccontextmanager
async def _loaded(coordinator: Process, queue: str) -> AsyncIterator[_Loaded]:
    async with coordinator:
        address = await listens_on(coordinator)
        async with (
            worker_process(address, flows.__name__, queue=queue) as worker,
            Client.connect(address, timeout=30) as client,
        ):
            await worker.wait_for_line("ready")
            yield _Loaded(coordinator, client, queue)


def _events(coordinator: Process) -> list[dict[str, object]]:
    """What it has logged so far."""
    return [json.loads(line) for line in coordinator.lines if line.startswith("{")]


def _warnings(coordinator: Process) -> list[object]:
    return [event["message"] for event in _events(coordinator) if event["level"] in ("WARNING", "ERROR")]


def _traces(sink: OtlpSink) -> set[str]:
    return {span.trace_id for span in sink.spans}


async def _dropped(coordinator: Process, reason: str) -> float:
    """What the metrics say of spans that were dropped."""
    address = (await coordinator.wait_for_line(r'"metrics_address": "(\S+:\d+)"'))[1]
    url = f"http://{address}/metrics"
    page = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=10).read().decode())
    found = re.search(rf'^holdfast_spans_dropped_total{{reason="{reason}"}} (\S+)$', page, re.MULTILINE)
    return float(found[1]) if found else 0.0
