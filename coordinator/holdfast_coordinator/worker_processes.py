"""Worker processes that `dev` and `demo` start beside the coordinator: started, watched, ended with it."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from pathlib import Path

import structlog

from holdfast.errors import HoldfastError

log = structlog.get_logger(__name__)

STOP_SECONDS = 10.0

Say = Callable[[str], None]


class LocalWorkerEnded(HoldfastError):
    """A worker process ended by itself."""

    def __init__(self, pid: int, code: int) -> None:
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        super().__init__(f"worker process {pid} {how}; its output above says why")
        self.pid = pid
        self.code = code


class WorkerProcesses:
    """Processes of `holdfast worker` for some modules. They end when this process does, even by SIGKILL."""

    def __init__(self, modules: Sequence[str], *, address: str, concurrency: int, options: Sequence[str] = ()) -> None:
        self._command = [
            sys.executable, "-m", "holdfast", "worker", *modules, "--address", address,
            "--concurrency", str(concurrency), "--exit-with-stdin", *options,
        ]  # fmt: skip
        self.processes: list[asyncio.subprocess.Process] = []

    @contextlib.asynccontextmanager
    async def started(self, count: int) -> AsyncIterator[None]:
        """Starts `count` processes; at the end they drain, and are killed when they do not within 10 s."""
        try:
            for _ in range(count):
                await self.start_one()
            yield
        finally:
            await self._stop()

    async def start_one(self) -> asyncio.subprocess.Process:
        """Starts one more process."""
        # The child ends when the other side of its stdin is gone: no signal reaches us before a SIGKILL.
        process = await asyncio.create_subprocess_exec(
            *self._command, stdin=asyncio.subprocess.PIPE, env=os.environ | {"PYTHONUNBUFFERED": "1"}
        )
        self.processes.append(process)
        return process

    async def supervise(self) -> None:
        """Waits until a process ends by itself, and says so. Raises LocalWorkerEnded."""
        waiting = {asyncio.ensure_future(process.wait()): process for process in self.processes}
        try:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                raise LocalWorkerEnded(waiting[one].pid, one.result())
        finally:
            for one in waiting:
                one.cancel()

    async def reload_on(self, changes: AsyncIterator[Collection[str]], say: Say) -> None:
        """Starts all processes anew whenever files have changed; what one of them ends of is said, and waited over.

        changes: the files, as they change. say: prints a line for people.
        """
        changing = asyncio.ensure_future(anext(changes))
        try:
            while True:
                ending = asyncio.ensure_future(self.supervise())
                await asyncio.wait((changing, ending), return_when=asyncio.FIRST_COMPLETED)
                if not changing.done():
                    try:
                        await ending
                    except LocalWorkerEnded as ended:
                        say(f"{ended}; it is started again when a file changes")
                ending.cancel()
                files = await changing
                changing = asyncio.ensure_future(anext(changes))
                say(f"{', '.join(sorted(files))} changed: the workers are started anew")
                count = len(self.processes)
                await self._stop(at_once=True)
                self.processes.clear()
                for _ in range(count):
                    await self.start_one()
        finally:
            changing.cancel()

    async def _stop(self, *, at_once: bool = False) -> None:
        """Asks the processes to drain, or with `at_once` to hand back what they run."""
        running = [process for process in self.processes if process.returncode is None]
        for process in running * (2 if at_once else 1):
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await asyncio.gather(*(process.wait() for process in running))
        except TimeoutError:
            for process in running:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            await asyncio.gather(*(process.wait() for process in running))


async def changed_files(directory: Path) -> AsyncIterator[Collection[str]]:
    """The Python files below a directory that change, as they do; not those of virtual environments and caches.

    Raises HoldfastError where what watches files is not installed.
    """
    try:
        from watchfiles import PythonFilter, awatch
    except ImportError as error:
        raise HoldfastError("--reload needs watchfiles, which is not installed: pip install watchfiles") from error
    async for changes in awatch(directory, watch_filter=PythonFilter(), raise_interrupt=False):
        yield sorted({path.removeprefix(f"{directory}{os.sep}") for _, path in changes})
