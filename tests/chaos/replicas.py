"""A plain fleet: coordinators and workers that are started again when they end, one Postgres, one name for all.

Unlike `fleet.py` there is nothing between them that could do harm: what is measured here is the product alone.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.database import Database
from tests.chaos.fleet import NAME, START_SECONDS, Member, coordinator_host
from tests.support.dns_stub import DnsStub, dns_stub
from tests.support.processes import coordinator_process, free_port, worker_process


@dataclass(slots=True)
class Replicas:
    """See the module. names: what clients and workers ask for the addresses of coordinators."""

    directory: Path
    database: Database
    names: DnsStub
    port: int
    coordinators: list[Member] = field(default_factory=list)
    workers: list[Member] = field(default_factory=list)
    _lives_kept: Counter[str] = field(default_factory=Counter)

    @property
    def address(self) -> str:
        """What stands for all coordinators."""
        return self.names.address_of(NAME, self.port)

    @property
    def members(self) -> list[Member]:
        """Coordinators, then workers."""
        return [*self.coordinators, *self.workers]

    def address_of(self, number: int) -> str:
        """The address of one coordinator alone."""
        return f"{coordinator_host(number)}:{self.port}"

    async def all_ready(self, *, seconds: float = START_SECONDS) -> None:
        """Returns when every process serves."""
        async with asyncio.timeout(seconds):
            for member in self.members:
                await member.is_ready.wait()

    def keep_logs(self) -> None:
        """Moves what every process has printed into files in the directory; an hour of it would fill the memory."""
        for member in self.members:
            with (self.directory / f"{member.name.replace(' ', '-')}.log").open("a") as log:
                log.writelines(f"{life.output}\n" for life in member.lives[self._lives_kept[member.name] :])
                log.writelines(f"{line}\n" for line in member.process.lines)
            self._lives_kept[member.name] = len(member.lives)
            member.process.lines.clear()


@asynccontextmanager
async def replicas(
    directory: Path,
    module: str,
    *,
    queue: str,
    coordinators: int,
    workers: int,
    options: Sequence[str] = (),
    worker_options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    is_pinned: bool = False,
) -> AsyncIterator[Replicas]:
    """A fleet that serves. Its files are in the directory; nothing of it is left running.

    options: of `holdfast serve`. is_pinned: worker n knows coordinator n only, and serves the queue with "-n" after it.
    """
    hosts = [coordinator_host(number) for number in range(coordinators)]
    given = {"PYTHONFAULTHANDLER": "1", **(environment or {})}
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(directory, disk_mb=0))
        names = await stack.enter_async_context(dns_stub(hosts, shuffled=True))
        made = Replicas(directory, database, names, free_port())
        try:
            for number, host in enumerate(hosts):
                process = coordinator_process(
                    database.url, port=made.port, options=["--host", host, *options], environment=given
                )
                made.coordinators.append(Member(f"coordinator {number}", process, "listens on"))
            made.coordinators[0].keep()
            await made.coordinators[0].is_ready.wait()  # it migrates the database
            for number in range(workers):
                address, served = (made.address_of(number), f"{queue}-{number}") if is_pinned else (made.address, queue)
                process = worker_process(address, module, queue=served, options=worker_options, environment=given)
                made.workers.append(Member(f"worker {number}", process, "ready"))
            for member in (*made.coordinators[1:], *made.workers):
                member.keep()
            await made.all_ready()
            yield made
        finally:
            for members in (made.workers, made.coordinators):
                await asyncio.gather(*(member.stop() for member in members))
