"""Coordinators that are replaced one after the other under load, behind a name whose answers are stale."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from signal import SIGTERM

import pytest

from holdfast.client import Client, RunHandle
from tests.support import flows_restart as flows
from tests.support.dns_stub import DnsStub, dns_stub
from tests.support.ledger import Ledger
from tests.support.processes import Process, coordinator_process, free_port, worker_process

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODULE = "tests.support.flows_restart"
WORKERS = 4
STARTS_PER_SECOND = 20
START_SECONDS_MAX = 1.0
STALE_SECONDS = 5.0


@dataclass(slots=True)
class Fleet:
    """Coordinators on addresses of this machine, and the name that stands for all of them."""

    database_url: str
    names: DnsStub
    port: int
    options: Sequence[str]
    environment: Mapping[str, str]
    replicas: dict[str, Process] = field(default_factory=dict)
    ended: list[Process] = field(default_factory=list)

    @property
    def address(self) -> str:
        return self.names.address_of("coordinator.test", self.port)

    @property
    def output(self) -> str:
        """What all coordinators have printed."""
        return "\n".join(process.output for process in (*self.ended, *self.replicas.values()))

    async def start(self, host: str) -> None:
        """Starts a replica; the name stands for it too once it serves."""
        options = ["--host", host, "--session-ttl", "6s", *self.options]
        process = coordinator_process(self.database_url, port=self.port, options=options, environment=self.environment)
        await process.start()
        self.replicas[host] = process
        await process.wait_for_line("listens on")
        self.names.set(list(self.replicas))

    async def stop(self, host: str) -> None:
        """Stops a replica as an orchestrator does: from now on the name does not stand for it, and it gets SIGTERM."""
        process = self.replicas.pop(host)
        self.ended.append(process)
        self.names.set(list(self.replicas))
        process.send(SIGTERM)
        assert await process.wait() == 0, process.output

    async def end(self) -> None:
        await asyncio.gather(*(process.stop() for process in (*self.replicas.values(), *self.ended)))


@asynccontextmanager
async def fleet(
    database_url: str,
    hosts: Sequence[str],
    *,
    shuffled: bool,
    stale_seconds: float = STALE_SECONDS,
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Fleet]:
    """Replicas that serve, behind a name whose answers are some seconds late."""
    async with dns_stub(hosts, stale_seconds=stale_seconds, shuffled=shuffled) as names:
        made = Fleet(database_url, names, free_port(), options, environment or {})
        try:
            await asyncio.gather(*map(made.start, hosts))
            yield made
        finally:
            await made.end()


class Load:
    """Starts runs at a steady rate, until it is told to stop."""

    def __init__(self, client: Client, ledger: Ledger, *, queue: str) -> None:
        self.slowest = 0.0
        self.names: list[str] = []
        self._client = client
        self._workflow = flows.three_steps.with_options(queue=queue)
        self._ledger = ledger
        self._starts: list[asyncio.Task[RunHandle[str]]] = []
        self._ticking = asyncio.create_task(self._tick())

    async def results(self) -> list[str]:
        """Stops; waits for all runs. Raises what any start raised."""
        self._ticking.cancel()
        return await self._client.wait_many([await start for start in self._starts], timeout=60)

    async def _tick(self) -> None:
        while True:
            self.names.append(str(len(self.names)))
            self._starts.append(asyncio.create_task(self._start(self.names[-1])))
            await asyncio.sleep(1 / STARTS_PER_SECOND)

    async def _start(self, name: str) -> RunHandle[str]:
        began = time.monotonic()
        run = await self._client.start(self._workflow, self._ledger.path, name)
        self.slowest = max(self.slowest, time.monotonic() - began)
        return run


async def roll_in_place(replicas: Fleet) -> None:
    """Each replica ends and comes back at its address. The next one ends when the name stands for both again."""
    for host in list(replicas.replicas):
        await replicas.stop(host)
        await replicas.start(host)
        await asyncio.sleep(STALE_SECONDS)


async def roll_to_new_addresses(replicas: Fleet) -> None:
    """Each replica is replaced by one at an address that nobody has heard of."""
    for old, new in zip(list(replicas.replicas), ("127.0.0.4", "127.0.0.5"), strict=True):
        await replicas.start(new)
        await replicas.stop(old)


@pytest.mark.feature("F141")
@pytest.mark.parametrize(
    ("roll", "shuffled", "drain"),
    [(roll_in_place, False, "0s"), (roll_to_new_addresses, True, "6s")],
    ids=["in place, fixed order", "to new addresses, shuffled"],
)
async def test_a_rolling_restart_fails_no_call_delays_no_start_and_repeats_no_step(
    module_database: str, ledger: Ledger, roll: Callable[[Fleet], Awaitable[None]], shuffled: bool, drain: str
) -> None:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        hosts = ("127.0.0.2", "127.0.0.3")
        replicas = await enter(fleet(module_database, hosts, shuffled=shuffled, options=["--drain", drain]))
        workers = [await enter(worker_process(replicas.address, MODULE, queue="rolling")) for _ in range(WORKERS)]
        await asyncio.gather(*(worker.wait_for_line("ready") for worker in workers))
        client = await enter(Client.connect(replicas.address))
        load = Load(client, ledger, queue="rolling")
        await ledger.wait_for("third 20")
        await roll(replicas)
        after = len(load.names)
        await ledger.wait_for(f"third {after}")
        assert await load.results() == load.names
        assert load.slowest < START_SECONDS_MAX
        assert "session_died" not in replicas.output
        said = "\n".join(worker.output for worker in workers)
        assert "dead" not in said
        assert "stalled" not in said
    assert ledger.counts == {f"{step} {name}": 1 for step in ("first", "second", "third") for name in load.names}
