"""What an engine looks like to the comparison: holdfast, and any peer whose processes answer lines of JSON."""

import asyncio
import contextlib
import json
import os
import signal
import statistics
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import pairwise
from typing import IO, Protocol

from holdfast import HoldfastError

from .. import flows
from ..cases import run_all
from ..cpu import cpu_seconds
from ..figures import percentile
from ..processes import environment
from ..stack import Stack

START_SECONDS = 120.0
ANSWER_SECONDS = 300.0
STOP_SECONDS = 10.0
LOG_BYTES_SHOWN = 2_000
NANOSECONDS_PER_MS = 1e6
IN_FLIGHT = 500
"""Runs of holdfast that one client awaits at a time."""


class PeerFailed(HoldfastError):
    """An engine does not do its work. The end of what it wrote is in the text."""


class Engine(Protocol):
    """An engine that is up. pids: with the processes below them, all that it consists of, its client included."""

    @property
    def pids(self) -> Sequence[int]: ...

    def cpu_seconds(self) -> float | None:
        """CPU that all its processes have used so far; None where it cannot be known."""

    async def runs(self, workflow: str, count: int) -> float:
        """Starts and awaits `count` runs, many at a time; the seconds that it took."""

    async def idle_run_ms(self, count: int) -> tuple[float, float]:
        """One-step runs, one after the other: the median and the 99th percentile of the time from start to result."""

    async def sequential_step_ms(self, steps: int) -> float:
        """A run of that many steps, one after the other: the median of the time between two."""

    async def fan_out_seconds(self, branches: int, times: int) -> float:
        """A run with that many steps at once: the median of the time from start to result."""


class Holdfast:
    """A stack of holdfast; the client is this process."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    @property
    def pids(self) -> Sequence[int]:
        # A guardian started Postgres: it is not always below this process.
        assert self._stack.server.pid is not None
        return [os.getpid(), *self._stack.pids.values(), self._stack.server.pid]

    def cpu_seconds(self) -> float | None:
        used = self._stack.cpu_seconds()
        return sum(used.values()) if used else None

    async def runs(self, workflow: str, count: int) -> float:
        return await run_all(self._stack.client, getattr(flows, workflow), count, in_flight=IN_FLIGHT)

    async def idle_run_ms(self, count: int) -> tuple[float, float]:
        took = []
        for _ in range(count):
            started = time.perf_counter()
            await self._stack.client.run(flows.one_step, flows.PAYLOAD)
            took.append((time.perf_counter() - started) * 1e3)
        return statistics.median(took), percentile(took, 0.99)

    async def sequential_step_ms(self, steps: int) -> float:
        return between(await self._stack.client.run(flows.clocked_steps, steps, flows.PAYLOAD))

    async def fan_out_seconds(self, branches: int, times: int) -> float:
        took = []
        for _ in range(times):
            started = time.perf_counter()
            count = await self._stack.client.run(flows.fan_out, branches, flows.PAYLOAD)
            took.append(time.perf_counter() - started)
            assert count == branches, count
        return statistics.median(took)


class Asked:
    """A peer: processes that do what a line of JSON on stdin asks for, and answer by one.

    in_flight: runs at a time, of each process. others: what else the peer consists of, such as a Postgres.
    """

    def __init__(self, processes: Sequence["Answering"], *, in_flight: int, others: Sequence[int] = ()) -> None:
        self._processes = processes
        self._in_flight = in_flight
        self._others = others

    @property
    def pids(self) -> Sequence[int]:
        return [*(process.pid for process in self._processes), *self._others]

    def cpu_seconds(self) -> float | None:
        used = [cpu_seconds(pid, with_children=True) for pid in self.pids]
        known = [seconds for seconds in used if seconds is not None]
        return sum(known) if len(known) == len(used) else None

    async def runs(self, workflow: str, count: int) -> float:
        each = -(-count // len(self._processes))
        asked = {"do": "runs", "workflow": workflow, "count": each, "in_flight": self._in_flight}
        started = time.perf_counter()
        await asyncio.gather(*(process.ask(asked) for process in self._processes))
        # More than was asked for when it cannot be divided; the rate is of what was done.
        return (time.perf_counter() - started) * count / (each * len(self._processes))

    async def idle_run_ms(self, count: int) -> tuple[float, float]:
        took = await self._processes[0].ask({"do": "idle_runs", "count": count})
        return statistics.median(took) * 1e3, percentile(took, 0.99) * 1e3

    async def sequential_step_ms(self, steps: int) -> float:
        return between(await self._processes[0].ask({"do": "clocked_steps", "steps": steps}))

    async def fan_out_seconds(self, branches: int, times: int) -> float:
        asked = {"do": "fan_out", "branches": branches, "count": times}
        return statistics.median(await self._processes[0].ask(asked))


class Answering:
    """One such process, with all that it starts. Made by `answering`."""

    def __init__(self, name: str, process: Process, log: IO[bytes]) -> None:
        self._name = name
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """Of the process itself."""
        return self._process.pid

    async def ask(self, asked: Mapping[str, object]) -> list[float]:
        """Its answer. Raises PeerFailed when it gives none."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        answer: list[float] = json.loads(await self.line(seconds=ANSWER_SECONDS))
        return answer

    async def line(self, *, seconds: float) -> bytes:
        """What it prints next."""
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), seconds)
        except TimeoutError:
            line = b""
        if not line:
            self._log.seek(max(self._log.seek(0, os.SEEK_END) - LOG_BYTES_SHOWN, 0))
            written = self._log.read().decode(errors="replace").strip()
            raise PeerFailed(f"{self._name} does not answer; it wrote:\n{written}")
        return line

    async def stop(self) -> None:
        """Ends it, and all that it has started."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            # Its session: what it started is in it also when it has ended itself.
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()


@contextlib.asynccontextmanager
async def answering(name: str, commands: Sequence[Sequence[str]]) -> AsyncIterator[list[Answering]]:
    """Processes for as long as the block runs. They start one after the other: the first may make tables.

    Raises PeerFailed when one does not say that it is ready.
    """
    with tempfile.TemporaryFile() as log:
        async with contextlib.AsyncExitStack() as exits:
            found: list[Answering] = []
            for command in commands:
                process = await asyncio.create_subprocess_exec(
                    *command, stdin=PIPE, stdout=PIPE, stderr=log, env=environment(), start_new_session=True,
                    limit=2**20,
                )  # fmt: skip
                found.append(Answering(name, process, log))
                exits.push_async_callback(found[-1].stop)
                if await found[-1].line(seconds=START_SECONDS) != b"ready\n":
                    raise PeerFailed(f"{name} does not start")
            yield found


def between(clocks_ns: Sequence[float]) -> float:
    """The median time between two clocks, in milliseconds."""
    return statistics.median(later - earlier for earlier, later in pairwise(clocks_ns)) / NANOSECONDS_PER_MS
