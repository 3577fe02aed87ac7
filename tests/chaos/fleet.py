"""What a chaos run torments: three coordinators, each behind a proxy, four workers, one Postgres, one DNS server."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.database import Database
from tests.chaos.ledger import ENVIRONMENT, boottime
from tests.chaos.namespaces import Bridge, Namespace, bridged
from tests.chaos.proxy import ChaosProxy
from tests.support.dns_stub import DnsStub, dns_stub
from tests.support.otlp_sink import OtlpSink, otlp_sink
from tests.support.processes import Process, coordinator_process, free_port, worker_process

COORDINATORS = 3
WORKERS = 4
MODULE = "tests.chaos.flows"
QUEUE = "chaos"
SESSION_TTL_SECONDS = 4.0
DRAIN_SECONDS = 2.0
NAME = "coordinator.test"
STALE_SECONDS = 2.0
START_SECONDS = 60.0
RESTART_SECONDS = 0.5
FOR_EVER_SECONDS = 1e9
CLOCK = "FAKETIME_TIMESTAMP_FILE"
FAKETIME = next(map(str, Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), "")
"""Steps the clock of single processes; an empty text where it is not installed."""


@dataclass(frozen=True, slots=True)
class Life:
    """One life of a process, ended. code: negative for a signal. ended_at: seconds of CLOCK_BOOTTIME."""

    pid: int
    code: int
    ended_at: float
    output: str
    was_ready: bool


class Member:
    """A process of the fleet that is started again whenever it ends, as an orchestrator does.

    `is_ready`: set while it serves. `lives`: those that have ended.
    """

    def __init__(self, name: str, process: Process, ready_line: str) -> None:
        self.name = name
        self.process = process
        self.is_ready = asyncio.Event()
        self.lives: list[Life] = []
        self._ready_line = ready_line
        self._has_ended = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None

    @property
    def output(self) -> str:
        """Everything that it has printed over all of its lives."""
        return "\n".join([*(life.output for life in self.lives), self.process.output])

    @property
    def pid(self) -> int:
        """The process id of its present life."""
        return self.process.pid

    def keep(self) -> None:
        """From now on it runs."""
        self._keeping = asyncio.create_task(self._keep(), name=f"keeps {self.name}")

    async def end(self, number: signal.Signals, *, seconds: float) -> Life:
        """Sends a signal that ends this life, and waits until it is over; it may have ended by itself just now."""
        pid = self.pid
        with contextlib.suppress(ProcessLookupError):
            self.process.send(number)
        async with asyncio.timeout(seconds):
            while not self.lives or self.lives[-1].pid != pid:
                self._has_ended.clear()
                await self._has_ended.wait()
        return self.lives[-1]

    def pause(self) -> bool:
        """SIGSTOP; False when it has ended by itself just now."""
        try:
            self.process.send(signal.SIGSTOP)
        except ProcessLookupError:
            return False
        return True

    async def stop(self) -> None:
        """Ends it for good."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        with contextlib.suppress(ProcessLookupError):
            self.process.send(signal.SIGCONT)
        await self.process.stop()

    async def _keep(self) -> None:
        while True:
            await self.process.start()
            # One that ends before it is ready, because the database is away for example, is started again.
            with contextlib.suppress(AssertionError):
                await self.process.wait_for_line(self._ready_line, seconds=START_SECONDS)
                self.is_ready.set()
            code = await self.process.wait(seconds=FOR_EVER_SECONDS)
            self.lives.append(
                Life(self.process.pid, code, boottime(), self.process.output, was_ready=self.is_ready.is_set())
            )
            self.is_ready.clear()
            self.process.lines.clear()
            self._has_ended.set()
            await asyncio.sleep(RESTART_SECONDS)


@dataclass(slots=True)
class Fleet:
    """See the module.

    names: what clients and workers ask for the addresses of coordinators. clocks: members whose clock can be stepped,
    by what is written to the file; one coordinator and one worker, where libfaketime is installed. cables: of the
    workers, in their order, where network namespaces can be made.
    """

    directory: Path
    database: Database
    names: DnsStub
    sink: OtlpSink
    port: int
    coordinators: list[Member] = field(default_factory=list)
    proxies: list[ChaosProxy] = field(default_factory=list)
    workers: list[Member] = field(default_factory=list)
    clocks: list[tuple[Member, Path]] = field(default_factory=list)
    bridge: Bridge | None = None
    cables: list[Namespace] = field(default_factory=list)

    @property
    def address(self) -> str:
        """What stands for all coordinators."""
        return self.names.address_of(NAME, self.port)

    async def all_ready(self, *, seconds: float = START_SECONDS) -> None:
        """Returns when every process serves."""
        async with asyncio.timeout(seconds):
            for member in (*self.coordinators, *self.workers):
                await member.is_ready.wait()

    async def dump_stacks(self) -> None:
        """Ends every process with the stacks of its threads in its output."""
        members = [member for member in (*self.coordinators, *self.workers) if member.is_ready.is_set()]
        await asyncio.gather(*(member.end(signal.SIGABRT, seconds=10) for member in members), return_exceptions=True)


def set_clock(path: Path, seconds: int) -> None:
    """Steps the clock of a process that was started with libfaketime; it looks once a second."""
    new = path.with_suffix(".new")
    new.write_text(f"{seconds:+d}")
    new.rename(path)


def coordinator_host(number: int) -> str:
    """Where a coordinator itself listens."""
    return f"127.0.0.{number + 2}"


@asynccontextmanager
async def fleet(directory: Path) -> AsyncIterator[Fleet]:
    """A fleet that serves. Its files are in the directory; nothing of it is left running."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        bridge = stack.enter_context(bridged(COORDINATORS)) if Bridge.is_possible() else None
        hosts = [bridge.proxy_host(n) if bridge else f"127.0.1.{n + 2}" for n in range(COORDINATORS)]
        database = await enter(Database(directory))
        here = bridge.host if bridge else "127.0.0.1"
        names = await enter(dns_stub(hosts, stale_seconds=STALE_SECONDS, shuffled=True, host=here))
        sink = await enter(otlp_sink())
        made = Fleet(directory, database, names, sink, free_port(), bridge=bridge)
        try:
            for number, host in enumerate(hosts):
                made.proxies.append(ChaosProxy(coordinator_host(number), made.port))
                await made.proxies[-1].start(host, made.port)
                made.coordinators.append(_coordinator(made, number))
            made.coordinators[0].keep()
            await made.coordinators[0].is_ready.wait()  # it migrates the database
            made.workers += [_worker(made, number) for number in range(WORKERS)]
            for member in (*made.coordinators[1:], *made.workers):
                member.keep()
            await made.all_ready()
            yield made
        finally:
            for members in (made.workers, made.coordinators):
                await asyncio.gather(*(member.stop() for member in members))
            await asyncio.gather(*(proxy.stop() for proxy in made.proxies))


def _coordinator(made: Fleet, number: int) -> Member:
    options = [
        "--host", coordinator_host(number), "--advertise", made.proxies[number].address,
        "--session-ttl", f"{SESSION_TTL_SECONDS:g}s", "--drain", f"{DRAIN_SECONDS:g}s", "--otlp", made.sink.url,
    ]  # fmt: skip
    name = f"coordinator {number}"
    environment = _environment(made, name, has_own_clock=number == 0)
    process = coordinator_process(made.database.url, port=made.port, options=options, environment=environment)
    return _member(made, Member(name, process, "listens on"), environment)


def _worker(made: Fleet, number: int) -> Member:
    name = f"worker {number}"
    environment = _environment(made, name, has_own_clock=number == 0)
    process = worker_process(made.address, MODULE, queue=QUEUE, environment=environment)
    if made.bridge is not None:
        made.cables.append(made.bridge.add(number))
        process.command = [*made.cables[-1].prefix, *process.command]
    return _member(made, Member(name, process, "ready"), environment)


def _environment(made: Fleet, name: str, *, has_own_clock: bool) -> dict[str, str]:
    environment = {ENVIRONMENT: str(made.directory / "ledger"), "PYTHONFAULTHANDLER": "1"}
    if has_own_clock and FAKETIME:
        clock = made.directory / f"clock-of-{name.replace(' ', '-')}"
        set_clock(clock, 0)
        environment |= {"LD_PRELOAD": FAKETIME, CLOCK: str(clock), "FAKETIME_CACHE_DURATION": "1"}
        environment["FAKETIME_DONT_FAKE_MONOTONIC"] = "1"
    return environment


def _member(made: Fleet, member: Member, environment: dict[str, str]) -> Member:
    if CLOCK in environment:
        made.clocks.append((member, Path(environment[CLOCK])))
    return member
