"""What a scenario is played on: a coordinator that exports to a backend, a client, workers that trace their steps."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from holdfast import Workflow
from holdfast.client import Client
from holdfast.worker import Worker
from tests.support import flows_traces as flows
from tests.support.ledger import Ledger
from tests.support.processes import Process, coordinator_process, worker_process
from tests.support.traces.seen import Backend

T = TypeVar("T")

CALLER = "shop"
"""The service of the test's own process: it calls, and its workers run in it."""

SOON_MS = 50
"""So often users' spans are exported."""

_numbers = itertools.count(1)


@dataclass(slots=True, frozen=True)
class Stage:
    """See the module. directory: for ledgers."""

    backend: Backend
    client: Client
    address: str
    directory: Path
    queue: str = field(default_factory=lambda: f"stage-{next(_numbers)}")

    def fresh(self) -> "Stage":
        """The same with a queue that nobody else uses."""
        return replace(self, queue=f"stage-{next(_numbers)}")

    def here(self, workflow: Workflow[Any, T], **options: Any) -> Any:
        """The workflow, to be started on this stage's queue."""
        return workflow.with_options(queue=self.queue, **options)

    def ledger(self) -> Ledger:
        """A file in which steps write down that they were executed."""
        return Ledger(self.directory / f"ledger-{next(_numbers)}")

    @asynccontextmanager
    async def worker(self, *, caches: bool = True, queue: str = "") -> AsyncIterator[Worker]:
        """A worker in this process. caches: False makes it forget each run as soon as it suspends."""
        made = Worker(self.client, queue or self.queue, workflows=[flows.app])
        if not caches:
            made._options = replace(made._options, cached_runs_max=0)  # no user needs it
        task = asyncio.create_task(made.run())
        try:
            await made.ready()
            yield made
        finally:
            made.stop()
            await task

    def worker_process(self, service: str, *, version: int = 1) -> Process:
        """A worker process that traces its steps as this service."""
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.backend.url,
            "OTEL_SERVICE_NAME": service,
            "OTEL_BSP_SCHEDULE_DELAY": str(SOON_MS),
            "FLOWS_VERSION": str(version),
        }
        return worker_process(self.address, flows.__name__, queue=self.queue, environment=environment)


@asynccontextmanager
async def staged(database: str, backend: Backend, directory: Path, *, queue: str = "") -> AsyncIterator[Stage]:
    """A stage with a coordinator of its own. Runs of `seldom` are not sampled."""
    async with exporting(database, backend.url) as process:
        address = await listens_on(process)
        async with Client.connect(address, timeout=30) as client:
            yield Stage(backend, client, address, directory, queue or f"stage-{next(_numbers)}")


async def listens_on(coordinator: Process) -> str:
    """The address of a coordinator, once it is there."""
    return (await coordinator.wait_for_line(r'(?:listens on |"serving_begun", "address": ")(\S+:\d+)'))[1]


def exporting(database: str, url: str, *options: str, port: int = 0, **environment: str) -> Process:
    """A coordinator that exports to `url`."""
    return coordinator_process(
        database,
        port=port,
        options=["--otlp", url, *options],
        environment={"HOLDFAST_TRACE_RATIOS": "default/seldom=0", **environment},
    )


@contextmanager
def tracing(backend: Backend) -> Iterator[Callable[[], bool]]:
    """This process traces itself, as one does that has set up OpenTelemetry; the function exports what there is."""
    provider = TracerProvider(resource=Resource({"service.name": CALLER}))
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(backend.url, insecure=True), schedule_delay_millis=SOON_MS)
    )
    before = trace._TRACER_PROVIDER
    # The API lets a program set its provider once and for all; the tests of one process are many programs.
    trace._TRACER_PROVIDER = provider
    try:
        yield provider.force_flush
    finally:
        trace._TRACER_PROVIDER = before
        provider.shutdown()


def relay_is_due(database: str) -> None:
    """What was left to the relay may be taken now, as it may after half a minute."""
    with psycopg.connect(database, autocommit=True) as connection:
        for (schema,) in connection.execute(
            "SELECT table_schema FROM information_schema.tables WHERE table_name = 'trace_marks'"
        ).fetchall():
            connection.execute(f"UPDATE {schema}.trace_marks SET relay_at = now() WHERE closed_at IS NOT NULL".encode())


def rss_bytes(pid: int) -> int:
    """The memory that a process has in use."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def forget_peak_rss(pid: int) -> None:
    """From now on the peak of a process is that of what follows."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_rss_bytes(pid: int) -> int:
    """The most memory that a process has had in use."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (peak,) = [line for line in lines if line.startswith("VmHWM:")]
    return int(peak.split()[1]) * 1024
