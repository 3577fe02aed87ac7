"""`holdfast worker --processes N`: the same worker in several processes, with this one to start and stop them.

They are spawned, never forked, and end when this process does, even by SIGKILL: see `stdin`. It runs no work itself.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from holdfast.errors import HoldfastError


class WorkerProcessEnded(HoldfastError):
    """One of the processes ended by itself; the others were drained."""

    def __init__(self, pid: int, code: int) -> None:
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        super().__init__(f"worker process {pid} {how}, so the others were stopped; its output above says why")
        self.pid = pid
        self.code = code


async def run_in_processes(options: Sequence[str], count: int) -> None:
    """Runs `holdfast worker` with these options `count` times, until it is stopped.

    SIGTERM and SIGINT are passed on as SIGTERM: the first drains, a second one hands everything back at once.
    Raises WorkerProcessEnded when one ends before that, after the others have drained.
    """
    processes: list[asyncio.subprocess.Process] = []
    asked = asyncio.Event()

    def stop() -> None:
        asked.set()
        _terminate(processes)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        for _ in range(count):
            processes.append(await _start(options))
            if asked.is_set():
                _terminate(processes[-1:])
        await _until_all_ended(processes, asked)
    finally:
        _terminate(processes)
        await asyncio.gather(*(process.wait() for process in processes))


async def _start(options: Sequence[str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "holdfast", "worker", *options, "--exit-with-stdin"),
        # Nothing is ever written: the end of the pipe only shows the child that this process is gone.
        stdin=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        # Ctrl-C in a terminal reaches the whole group; twice, with what is passed on, it would mean: at once.
        start_new_session=True,
    )


async def _until_all_ended(processes: Sequence[asyncio.subprocess.Process], asked: asyncio.Event) -> None:
    waiting = {asyncio.ensure_future(process.wait()): process for process in processes}
    first: WorkerProcessEnded | None = None
    while waiting:
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for one in done:
            process = waiting.pop(one)
            if not asked.is_set() or one.result() != 0:
                first = first or WorkerProcessEnded(process.pid, one.result())
                asked.set()
                _terminate(list(waiting.values()))
    if first is not None:
        raise first


def _terminate(processes: Sequence[asyncio.subprocess.Process]) -> None:
    for process in processes:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
