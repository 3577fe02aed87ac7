"""With telemetry switched off nothing of it is entered per step: no span, no context, no log, no figure.

Coordinator, worker and client run in this thread, and the interpreter tells of every call.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

from holdfast import App
from holdfast.client import Client
from holdfast.worker import Worker
from holdfast_coordinator.app import coordinator
from holdfast_coordinator.config import Config
from tests.support.otlp_sink import otlp_sink

OF_TELEMETRY = (
    "/holdfast_coordinator/telemetry/",
    "/holdfast_coordinator/export/",
    "/holdfast_coordinator/metrics/",
    "/holdfast_coordinator/engine/commit_metrics.py",
    "/holdfast/worker/trace_context.py",
    "/holdfast/worker/log_facts.py",
    "/holdfast/traces.py",
    "/opentelemetry/",
    "/prometheus_client/",
    "/structlog/",
    "/logging/",
)

app = App("switched off")


@app.step
async def count(number: int) -> int:
    return number + 1


@app.workflow
async def counted(steps: int) -> int:
    number = 0
    for _ in range(steps):
        number = await count(number)
    return number


@contextmanager
def calls() -> Iterator[Counter[str]]:
    """The calls into modules of telemetry that this thread makes in the block."""
    seen: Counter[str] = Counter()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            file = frame.f_code.co_filename
            if any(part in file for part in OF_TELEMETRY):
                seen[f"{file.rpartition('/')[2]}:{frame.f_code.co_qualname}"] += 1

    sys.setprofile(note)
    try:
        yield seen
    finally:
        sys.setprofile(None)


async def called_per_step(config: Config) -> set[str]:
    """What is called at least once for every other step."""
    async with coordinator(config) as running, Client.connect(running.address) as client:
        worker = asyncio.create_task(Worker(client, workflows=[counted], steps=[count]).run())
        await client.run(counted, 10)  # what happens once has happened
        by_steps = {}
        for steps in (10, 110):
            with calls() as by_steps[steps]:
                assert await client.run(counted, steps) == steps
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
    return {name for name, times in by_steps[110].items() if times - by_steps[10][name] >= 50}


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "HOLDFAST_OTLP", "HOLDFAST_METRICS_PORT"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.feature("F125")
async def test_nothing_of_telemetry_is_called_per_step_when_it_is_off(database: str) -> None:
    assert not await called_per_step(Config(database_url=database, port=0))


async def test_what_is_called_per_step_is_seen_when_it_is_on(database: str) -> None:
    async with otlp_sink() as sink:
        names = await called_per_step(Config(database_url=database, port=0, otlp=sink.url, metrics_port=0))
    files = {name.partition(":")[0] for name in names}
    assert {"run_spans.py", "trace_context.py", "commit_metrics.py", "histograms.py"} <= files
