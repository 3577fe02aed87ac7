"""Coordinators and workers as processes: started, watched until they are ready, ended. See program.py for what runs.

What they print is read here; the last lines of it say what is wrong when one of them ends.
"""

import asyncio
import contextlib
import socket
from asyncio.subprocess import PIPE, STDOUT, Process
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from holdfast.errors import HoldfastError

from . import flows
from .processes import CELLS_VARIABLE, command_of, environment
from .profiles import Profiles

READY = ("holdfast listens on ", "holdfast.worker: ready:")
"""One of these is in the line by which a coordinator or a worker says that it is ready."""
READY_SECONDS = 120.0
STOP_SECONDS = 40.0
"""Longer than a worker drains."""
LINES_KEPT = 20
CONCURRENCY = 100


class BenchFailed(HoldfastError):
    """What is to be measured does not do its work. The end of what it wrote is in the text."""

    def __init__(self, problem: str, *, log: str = "") -> None:
        super().__init__(f"{problem}; the stack wrote:\n{log}" if log else problem)


class Program:
    """One process. `lines`: the last that it printed."""

    def __init__(self, name: str, process: Process) -> None:
        self.name = name
        self.process = process
        self.lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._is_ready = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def ready(self) -> None:
        """Returns when it says that it is ready. Raises BenchFailed when it ends, or takes too long."""
        waiting = asyncio.create_task(self._is_ready.wait())
        await asyncio.wait((waiting, self._reading), timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not self._is_ready.is_set():
            raise BenchFailed(f"{self.name} does not become ready", log="\n".join(self.lines))

    async def ended(self) -> int:
        """Waits for its end; its exit code."""
        await asyncio.shield(self._reading)
        return await self.process.wait()

    async def stop(self) -> int:
        """SIGTERM, and SIGKILL when that does not help; the exit code."""
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        try:
            return await asyncio.wait_for(self.ended(), STOP_SECONDS)
        except TimeoutError:
            self.process.kill()
            return await self.process.wait()

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode(errors="replace").rstrip())
            if any(word in self.lines[-1] for word in READY):
                self._is_ready.set()


class Programs:
    """The processes of one stack by name, in the order in which they were started.

    profiles: where each writes its profile. checkout: another revision of the project, whose code runs instead. cells:
    of each coordinator.
    """

    def __init__(self, *, profiles: Profiles | None = None, checkout: Path | None = None, cells: int = 1) -> None:
        self._cells = cells
        self._profiles = profiles
        self._checkout = checkout
        self._running: dict[str, Program] = {}

    @property
    def pids(self) -> dict[str, int]:
        """Of those that run."""
        return {name: program.process.pid for name, program in self._running.items()}

    @property
    def log(self) -> str:
        """The last lines of each."""
        return "\n".join(f"{name}: {line}" for name, program in self._running.items() for line in program.lines)

    async def start_coordinator(
        self, name: str, database_url: str, *, host: str = "127.0.0.1", port: int, options: Sequence[str] = ()
    ) -> Program:
        """Returns at once; see Program.ready."""
        where = ["--database-url", database_url, "--host", host, "--port", str(port)]
        return await self._start(name, ["serve", *where, "--log-level", "warning", *options])

    async def start_worker(self, name: str, address: str, *, queue: str = "default") -> Program:
        """Returns at once; see Program.ready."""
        where = ["--address", address, "--queue", queue, "--concurrency", str(CONCURRENCY)]
        return await self._start(name, ["worker", flows.__name__, *where])

    async def stop(self, name: str) -> int:
        """Ends one, in an orderly way; its exit code."""
        return await self._running.pop(name).stop()

    async def stop_all(self) -> None:
        """Ends the workers before the coordinators."""
        for name in reversed(list(self._running)):
            await self.stop(name)

    async def first_end(self) -> str:
        """Waits until one of those that run now ends, and says which."""
        ends = {asyncio.ensure_future(program.ended()): name for name, program in self._running.items()}
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            first = done.pop()
            return f"{ends[first]} ended with {first.result()}"
        finally:
            for end in ends:
                end.cancel()

    async def _start(self, name: str, arguments: Sequence[str]) -> Program:
        assert name not in self._running, name
        profile = str(self._profiles.path_of(name)) if self._profiles else "-"
        inherited = environment(self._checkout).items()
        # --otlp is for spans alone: what metrics cost is another figure.
        env = {name: value for name, value in inherited if not name.startswith("OTEL_")}
        process = await asyncio.create_subprocess_exec(
            *command_of("program", [profile, *arguments]),
            stdin=PIPE,
            stdout=PIPE,
            stderr=STDOUT,
            env=env
            | {
                "OTEL_METRICS_EXPORTER": "none",
                "PYTHONUNBUFFERED": "1",
                "NO_COLOR": "1",
                CELLS_VARIABLE: str(self._cells),
            },
        )
        self._running[name] = Program(name, process)
        return self._running[name]


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
