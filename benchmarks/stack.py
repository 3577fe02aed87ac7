"""What is measured: Postgres, a coordinator and workers, each in processes of their own, and a client in this one.

Nothing is tuned beyond what `holdfast dev` does, and everything is durable: the ephemeral Postgres syncs as any other.
A stack brings its own database and listens where nothing else does; there is no way to point it at another one.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast.client import Client
from holdfast.errors import HoldfastError
from holdfast_coordinator.postgres import EmbeddedPostgres

from . import flows
from .cpu import cpu_seconds
from .profiles import CLIENT, Profiles
from .programs import CONCURRENCY, BenchFailed, Programs, free_port

START_SECONDS = 60.0
NO_WORK = f"the workers do nothing for {START_SECONDS:g} s"
COORDINATOR = "coordinator"


@dataclass(slots=True)
class Stack:
    """A running stack. addresses: of its coordinators. client: of the first of them; others: of each of the others."""

    server: EmbeddedPostgres
    programs: Programs
    addresses: Sequence[str]
    client: Client
    others: Sequence[Client] = ()

    @property
    def pids(self) -> dict[str, int]:
        """The processes that program.py runs, by name."""
        return self.programs.pids

    def cpu_seconds(self) -> dict[str, float]:
        """CPU that everything has used so far, by process, "client" and "postgres". Empty where it cannot be known."""
        assert self.server.pid is not None
        used = {
            CLIENT: cpu_seconds(os.getpid()),
            "postgres": cpu_seconds(self.server.pid, with_children=True),
            **{name: cpu_seconds(pid) for name, pid in self.pids.items()},
        }
        known = {name: seconds for name, seconds in used.items() if seconds is not None}
        return known if len(known) == len(used) else {}


@contextlib.asynccontextmanager
async def stack(
    *,
    workers: int,
    queues: Sequence[str] = (),
    replicas: int = 1,
    cells: int = 1,
    server: EmbeddedPostgres | None = None,
    profiles: Profiles | None = None,
    options: Sequence[str] = (),
    checkout: Path | None = None,
) -> AsyncIterator[Stack]:
    """A stack for as long as the block runs; when it is entered, all workers take work.

    workers: they serve the default queue, and take turns at the replicas. queues: each has one more worker, of the
    first replica. cells: of each coordinator. server: one that runs, else an ephemeral one of its own. options: more of
    them for `holdfast serve`. checkout: another revision of the project, whose code runs instead.
    """
    async with contextlib.AsyncExitStack() as exits:
        if server is None:
            server = await exits.enter_async_context(EmbeddedPostgres(None))
        programs = Programs(profiles=profiles, checkout=checkout, cells=cells)
        exits.push_async_callback(programs.stop_all)
        ports = [free_port() for _ in range(replicas)]
        addresses = [f"127.0.0.1:{port}" for port in ports]
        # All of them before the client: gRPC in this process and a fork do not go well together.
        for number, port in enumerate(ports, start=1):
            name = COORDINATOR if replicas == 1 else f"{COORDINATOR}-{number}"
            await programs.start_coordinator(name, server.url(), port=port, options=options)
        for number in range(1, workers + 1):
            await programs.start_worker(f"worker-{number}", addresses[(number - 1) % replicas])
        for queue in queues:
            await programs.start_worker(f"worker-{queue}", addresses[0], queue=queue)
        try:
            connecting = [Client.connect(address, timeout=START_SECONDS) for address in addresses]
            client, *others = [await exits.enter_async_context(one) for one in connecting]
            running = Stack(server, programs, addresses, client, others)
            await until_all_work(running, {"default": workers} | dict.fromkeys(queues, 1))
        except (HoldfastError, TimeoutError) as error:
            raise BenchFailed(str(error) or NO_WORK, log=programs.log) from error
        yield running


async def until_all_work(running: Stack, workers: dict[str, int]) -> None:
    """Waits until every worker has run something. workers: how many there are, by queue. Raises BenchFailed."""
    asking = asyncio.ensure_future(_seen_at_work((running.client, *running.others), workers))
    ending = asyncio.ensure_future(running.programs.first_end())
    try:
        async with asyncio.timeout(START_SECONDS):
            await asyncio.wait((asking, ending), return_when=asyncio.FIRST_COMPLETED)
        if ending.done():
            raise BenchFailed(ending.result())
        await asking
    finally:
        for task in (asking, ending):
            task.cancel()
        await asyncio.gather(asking, ending, return_exceptions=True)


async def _seen_at_work(clients: Sequence[Client], workers: dict[str, int]) -> None:
    for queue, count in workers.items():
        who = flows.who.with_options(queue=queue)
        seen: set[int] = set()
        while len(seen) < count:
            # By each client, as a coordinator gives what it starts to its own workers; more runs than one has slots.
            started = [client.run(who, 0.1) for client in clients for _ in range(CONCURRENCY + 20)]
            seen.update(await asyncio.gather(*started))
