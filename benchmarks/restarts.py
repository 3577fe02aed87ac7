"""B14: everything is restarted in turn under load, behind a name whose answers are stale: who notices it.

Two coordinators and four workers. Each is ended as an orchestrator does it, and comes back before the next one ends.
"""

import asyncio
import tempfile
import time
from collections import Counter
from pathlib import Path

from holdfast.client import Client
from holdfast.errors import HoldfastError
from holdfast_coordinator.postgres import EmbeddedPostgres
from tests.support.dns_stub import DnsStub, dns_stub

from . import flows
from .programs import BenchFailed, Programs, free_port
from .sizes import Say, Sizes

FIGURES = ("B14.failed_calls", "B14.slowest_start", "B14.repeated_steps")
HOSTS = ("127.0.0.2", "127.0.0.3")
NAME = "coordinator.test"
WORKERS = 4
STARTS_PER_SECOND = 25
RESULT_SECONDS = 60.0
SETTLE_SECONDS = 2.0


class Load:
    """Starts runs at a steady rate, waits for each of them, and counts what goes wrong."""

    def __init__(self, client: Client, ledger: str) -> None:
        self.failures: list[BaseException] = []
        self.slowest_start_seconds = 0.0
        self._client = client
        self._ledger = ledger
        self._calls: set[asyncio.Task[None]] = set()
        self.started = 0
        self._ticking = asyncio.create_task(self._tick())

    async def end(self) -> None:
        """Starts no more; returns when all have ended."""
        self._ticking.cancel()
        await asyncio.gather(*self._calls)

    async def _tick(self) -> None:
        while True:
            self.started += 1
            self._calls.add(asyncio.create_task(self._one(str(self.started))))
            await asyncio.sleep(1 / STARTS_PER_SECOND)

    async def _one(self, name: str) -> None:
        began = time.monotonic()
        try:
            run = await self._client.start(flows.three_noted_steps, self._ledger, name)
            self.slowest_start_seconds = max(self.slowest_start_seconds, time.monotonic() - began)
            await run.result(timeout=RESULT_SECONDS)
        except (HoldfastError, TimeoutError) as error:
            self.failures.append(error)


class Fleet:
    """The processes, and the name that stands for the coordinators."""

    def __init__(self, database_url: str, names: DnsStub, drain_seconds: float) -> None:
        self.programs = Programs()
        self._names = names
        self._database_url = database_url
        self._port = free_port()
        self._drain = f"{drain_seconds:g}s"
        self._serving: list[str] = []

    @property
    def address(self) -> str:
        """The address of the name."""
        return self._names.address_of(NAME, self._port)

    async def start_coordinator(self, host: str) -> None:
        """Returns when it serves; then the name stands for it too."""
        options = ["--drain", self._drain]
        coordinator = await self.programs.start_coordinator(
            host, self._database_url, host=host, port=self._port, options=options
        )
        await coordinator.ready()
        self._serving.append(host)
        self._names.set(self._serving)

    async def start_worker(self, name: str) -> None:
        """Returns when it is ready."""
        await (await self.programs.start_worker(name, self.address)).ready()

    async def stop_coordinator(self, host: str) -> None:
        """From now on the name does not stand for it, and it is told to end."""
        self._serving.remove(host)
        self._names.set(self._serving)
        await self._stop(host)

    async def stop_worker(self, name: str) -> None:
        """Lets it drain."""
        await self._stop(name)

    async def _stop(self, name: str) -> None:
        code = await self.programs.stop(name)
        if code:
            raise BenchFailed(f"{name} ended with {code}", log=self.programs.log)


async def measure_restarts(sizes: Sizes, say: Say) -> dict[str, list[float]]:
    """B14: of each round, calls that failed, the slowest start in seconds, and how many steps ran more than once."""
    found: dict[str, list[float]] = {name: [] for name in FIGURES}
    for number in range(1, sizes.rounds + 1):
        say(f"B14: round {number} of {sizes.rounds}")
        with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as directory:
            ledger = Path(directory) / "ledger"
            ledger.touch()
            async with EmbeddedPostgres(None) as server:
                load = await _one_round(server, ledger, sizes)
            steps = Counter(ledger.read_text().splitlines())
        missing = load.started * flows.NOTED_STEPS - len(load.failures) * flows.NOTED_STEPS - len(steps)
        if missing > 0:
            raise BenchFailed(f"{missing} steps of runs that completed did not run")
        found["B14.failed_calls"].append(len(load.failures))
        found["B14.slowest_start"].append(load.slowest_start_seconds)
        found["B14.repeated_steps"].append(sum(count - 1 for count in steps.values()))
    return found


async def _one_round(server: EmbeddedPostgres, ledger: Path, sizes: Sizes) -> Load:
    stale = sizes.stale_seconds
    workers = [f"worker-{number}" for number in range(1, WORKERS + 1)]
    async with dns_stub(HOSTS, stale_seconds=stale, shuffled=True) as names:
        fleet = Fleet(server.url(), names, stale + 1)
        try:
            await asyncio.gather(*map(fleet.start_coordinator, HOSTS))
            await asyncio.gather(*map(fleet.start_worker, workers))
            async with Client.connect(fleet.address) as client:
                load = Load(client, str(ledger))
                await asyncio.sleep(SETTLE_SECONDS)
                for host in HOSTS:
                    await fleet.stop_coordinator(host)
                    await fleet.start_coordinator(host)
                    await asyncio.sleep(stale)  # until the name stands for both again
                for worker in workers:
                    await fleet.stop_worker(worker)
                    await fleet.start_worker(worker)
                await load.end()
                return load
        finally:
            await fleet.programs.stop_all()
