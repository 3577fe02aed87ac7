"""What is measured: Postgres, a coordinator and workers, each in processes of their own, and a client in this one.

Nothing is tuned beyond what `holdfast dev` does, and everything is durable: the ephemeral Postgres syncs as any other.
"""

import asyncio
import contextlib
import os
import socket
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.client import Client
from holdfast.errors import HoldfastError
from holdfast_coordinator.postgres import EmbeddedPostgres

from . import flows
from .cpu import cpu_seconds
from .processes import command_of, environment
from .profiles import CLIENT, Profiles

START_SECONDS = 60.0
STOP_SECONDS = 10.0
CONCURRENCY = 100
LOG_LINES = 20
NO_WORK = f"the workers do nothing for {START_SECONDS:g} s"


class BenchFailed(HoldfastError):
    """The stack does not do its work, so there is nothing to measure. The end of what it wrote is in the text."""

    def __init__(self, problem: str, *, log: str = "") -> None:
        super().__init__(f"{problem}{f'; the stack wrote:{os.linesep}{log}' if log else ''}")


@dataclass(slots=True)
class Stack:
    """A running stack. processes: coordinator and workers by name."""

    server: EmbeddedPostgres
    client: Client
    processes: dict[str, Process] = field(default_factory=dict)

    @property
    def pids(self) -> dict[str, int]:
        """The processes that program.py runs, by name."""
        return {name: process.pid for name, process in self.processes.items()}

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
    *, workers: int, profiles: Profiles | None = None, options: Sequence[str] = (), checkout: Path | None = None
) -> AsyncIterator[Stack]:
    """A stack for as long as the block runs; when it is entered, all workers take work.

    options: more of them for `holdfast serve`. checkout: another revision of the project, whose code runs instead.
    """
    async with contextlib.AsyncExitStack() as exits:
        server = await exits.enter_async_context(EmbeddedPostgres(None))
        log_path = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-bench-"))) / "stack.log"
        address = f"127.0.0.1:{_free_port()}"
        processes: dict[str, Process] = {}
        exits.push_async_callback(_stop, processes)

        async def start(name: str, arguments: Sequence[str]) -> None:
            profile = str(profiles.path_of(name)) if profiles else "-"
            processes[name] = await _started(arguments, log_path, profile, checkout)

        serve = ["serve", "--database-url", server.url(), "--port", address.rpartition(":")[2]]
        work = ["worker", flows.__name__, "--address", address, "--concurrency", str(CONCURRENCY)]
        # All of them before the client: gRPC in this process and a fork do not go well together.
        await start("coordinator", [*serve, "--log-level", "warning", *options])
        for number in range(1, workers + 1):
            await start(f"worker-{number}", work)
        try:
            client = await exits.enter_async_context(Client.connect(address, timeout=START_SECONDS))
            running = Stack(server, client, processes)
            await _all_work(running, workers)
        except (HoldfastError, TimeoutError, _Ended) as error:
            raise BenchFailed(str(error) or NO_WORK, log=_tail(log_path)) from error
        yield running


class _Ended(Exception):
    pass


async def _all_work(running: Stack, workers: int) -> None:
    """Waits until every worker has run something."""
    asking = asyncio.ensure_future(_seen_at_work(running.client, workers))
    ends = {asyncio.ensure_future(process.wait()): name for name, process in running.processes.items()}
    try:
        async with asyncio.timeout(START_SECONDS):
            await asyncio.wait((asking, *ends), return_when=asyncio.FIRST_COMPLETED)
        for end, name in ends.items():
            if end.done():
                raise _Ended(f"{name} ended with {end.result()}")
        await asking
    finally:
        for task in (asking, *ends):
            task.cancel()
        await asyncio.gather(asking, *ends, return_exceptions=True)


async def _seen_at_work(client: Client, workers: int) -> None:
    seen: set[int] = set()
    while len(seen) < workers:
        # More runs than one worker has slots.
        seen.update(await asyncio.gather(*(client.run(flows.who, 0.1) for _ in range(CONCURRENCY + 20))))


async def _started(arguments: Sequence[str], log_path: Path, profile: str, checkout: Path | None) -> Process:
    inherited = environment(checkout).items()
    # --otlp is for spans alone: what metrics cost is another figure.
    env = {name: value for name, value in inherited if not name.startswith("OTEL_")} | {"OTEL_METRICS_EXPORTER": "none"}
    with log_path.open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *command_of("program", [profile, *arguments]), stdin=PIPE, stdout=log, stderr=log, env=env
        )


async def _stop(processes: dict[str, Process]) -> None:
    """Ends workers before the coordinator; kills what does not end."""
    for process in reversed(processes.values()):
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()


def _tail(path: Path) -> str:
    with contextlib.suppress(OSError):
        return "\n".join(path.read_text(errors="replace").splitlines()[-LOG_LINES:])
    return ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
