"""Real processes for end-to-end tests: a coordinator and workers, started, watched, killed."""

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Self

START_SECONDS = 30.0 * int(os.environ.get("HOLDFAST_TEST_REPLICAS", "1"))
STOP_SECONDS = 30.0


class Process:
    """One process whose output is read line by line; the lines stay for assertions and for failures."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.command = command
        # What gRPC logs is for the program to say; a bench that was imported beside the tests has its own setting.
        inherited = {key: value for key, value in os.environ.items() if key != "GRPC_VERBOSITY"}
        self._environment = inherited | {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1"} | (environment or {})
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self.lines: list[str] = []

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """True when it is known to have ended."""
        return self._process is not None and self._process.returncode is not None

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return "\n".join(self.lines)

    async def start(self) -> None:
        """Starts the process; the same command may be started again after it ended."""
        self._process = await asyncio.create_subprocess_exec(
            *self.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._environment,
        )
        self._reader = asyncio.create_task(self._read())

    async def wait_for_line(self, pattern: str, *, seconds: float = START_SECONDS) -> re.Match[str]:
        """Waits until a line matches. Fails with the whole output when the process ends or time runs out."""
        compiled = re.compile(pattern)
        seen = 0
        try:
            async with asyncio.timeout(seconds):
                while True:
                    for line in self.lines[seen:]:
                        if match := compiled.search(line):
                            return match
                    seen = len(self.lines)
                    if self._reader is not None and self._reader.done() and seen == len(self.lines):
                        raise AssertionError(f"{self.name} ended without a line like {pattern!r}:\n{self.output}")
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"{self.name} printed no line like {pattern!r}:\n{self.output}") from None

    def send(self, number: signal.Signals) -> None:
        """Sends a signal."""
        os.kill(self.pid, number)

    async def kill(self) -> None:
        """SIGKILL, and waits until it is gone."""
        self.send(signal.SIGKILL)
        await self.wait()

    async def wait(self, *, seconds: float = STOP_SECONDS) -> int:
        """Waits until it has ended; its exit code, negative for a signal."""
        assert self._process is not None
        assert self._reader is not None
        async with asyncio.timeout(seconds):
            code = await self._process.wait()
            await self._reader
        return code

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL when that does not help."""
        if self._process is None or self._process.returncode is not None:
            return
        self.send(signal.SIGTERM)
        try:
            await self.wait()
        except TimeoutError:
            await self.kill()

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.lines.append(line.decode(errors="replace").rstrip())
            self._news.set()
        self._news.set()


def coordinator_process(
    database_url: str,
    *,
    port: int = 0,
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Process:
    """A coordinator on a database; `session_ttl` is short, so that killed workers are found soon."""
    command = [
        sys.executable, "-m", "holdfast", "serve", "--database-url", database_url, "--port", str(port),
        "--session-ttl", "2s", *options,
    ]  # fmt: skip
    return Process("coordinator", command, environment)


def worker_process(
    address: str,
    *modules: str,
    queue: str = "default",
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Process:
    """A worker of `holdfast worker`."""
    command = [
        sys.executable, "-m", "holdfast", "worker", *modules, "--address", address, "--queue", queue, *options,
    ]  # fmt: skip
    return Process(f"worker {queue}", command, environment)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def module_run(module: str, *arguments: str) -> tuple[int, str]:
    """Runs a module of this checkout as a program, to its end: its exit code, and all that it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()
