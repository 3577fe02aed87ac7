"""Profiles of all processes of the stack while one case runs: taken, collected, printed."""

import asyncio
import cProfile
import os
import pstats
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from rich.console import Console

LINES = 25
WRITE_SECONDS = 20.0
CLIENT = "client"


class Profiles:
    """Where profiles are written: one file per case and process. `pids` are processes of program.py by name."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path_of(self, process: str) -> Path:
        """Where a process writes its profile."""
        return self.directory / f"{process}.pstats"

    @asynccontextmanager
    async def taken(self, case: str, pids: Mapping[str, int]) -> AsyncIterator[None]:
        """Profiles all processes, and this one, while the block runs."""
        self._signal(pids, signal.SIGUSR1)
        profiler = cProfile.Profile()
        profiler.enable()
        try:
            yield
        finally:
            profiler.disable()
            self._signal(pids, signal.SIGUSR2)
            profiler.dump_stats(self._path(case, CLIENT))
            async with asyncio.timeout(WRITE_SECONDS):
                for process in pids:
                    while not self.path_of(process).exists():  # noqa: ASYNC110 - another process writes it
                        await asyncio.sleep(0.05)
                    self.path_of(process).replace(self._path(case, process))

    def show(self, console: Console, case: str) -> None:
        """The functions of each process that took the longest, themselves."""
        for path in sorted(self.directory.glob(f"{case}.*.pstats")):
            process = path.name.removeprefix(f"{case}.").removesuffix(".pstats")
            if "." in process:
                continue  # of a case whose name goes on
            console.print(f"\n[bold]{case}: {process}[/]  ({path})", highlight=False)
            pstats.Stats(str(path), stream=console.file).sort_stats("tottime").print_stats(LINES)

    def _path(self, case: str, process: str) -> Path:
        return self.directory / f"{case}.{process}.pstats"

    @staticmethod
    def _signal(pids: Mapping[str, int], number: signal.Signals) -> None:
        for pid in pids.values():
            os.kill(pid, number)
