"""B17: how long an import, the command line and a worker take to start, and how much an installation brings along.

Processes as a user starts them, in this environment: with [dev] in it they find more packages than with the SDK
alone. What they read from disk is in memory after the first one.
"""

import asyncio
import statistics
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from importlib.metadata import requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from . import flows
from .processes import environment
from .programs import BenchFailed, Program
from .sizes import Sizes, Values
from .stack import Stack

PYTHON = (sys.executable, "-P")
IMPORT = "import time; began = time.perf_counter(); import holdfast; print((time.perf_counter() - began) * 1e3)"
QUEUE = "start-up"
FIGURES = ("B17.import", "B17.help", "B17.worker_ready", "B17.distributions")


async def measure_start_up(stack: Stack, sizes: Sizes) -> Values:
    """B17: medians of some processes, one after the other."""
    imports = [await _import_ms() for _ in range(sizes.process_starts)]
    helps = [await _help_ms() for _ in range(sizes.process_starts)]
    workers = [await _worker_ready_seconds(stack.addresses[0]) for _ in range(sizes.process_starts)]
    medians = map(statistics.median, (imports, helps, workers))
    return dict(zip(FIGURES, (*medians, float(len(distributions("holdfast")))), strict=True))


def distributions(name: str) -> set[str]:
    """What an installation of this distribution without extras brings along here, itself included."""
    found, waiting = set[str](), [name]
    while waiting:
        one = canonicalize_name(waiting.pop())
        if one in found:
            continue
        found.add(one)
        needed = map(Requirement, requires(one) or ())
        waiting += [need.name for need in needed if need.marker is None or need.marker.evaluate({"extra": ""})]
    return found


async def _import_ms() -> float:
    return float(await _output(*PYTHON, "-c", IMPORT))


async def _help_ms() -> float:
    began = time.perf_counter()
    await _output(*PYTHON, "-m", "holdfast", "--help")
    return (time.perf_counter() - began) * 1e3


async def _output(*command: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, env=environment()
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise BenchFailed(f"{' '.join(command)} ended with {process.returncode}", log=output.decode(errors="replace"))
    return output


async def _worker_ready_seconds(address: str) -> float:
    options = ["--address", address, "--queue", QUEUE, "--exit-with-stdin"]
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *PYTHON, "-m", "holdfast", "worker", flows.__name__, *options,
        stdin=PIPE, stdout=PIPE, stderr=STDOUT, env=environment(),
    )  # fmt: skip
    worker = Program(f"worker-{QUEUE}", process)
    try:
        await worker.ready()
        return time.perf_counter() - began
    finally:
        await worker.stop()
