"""An honest worker and an honest client beside an attack: all that they ask for must come out right, and soon.

They are a process of their own, `python -m tests.support.bystanders ADDRESS FILE`, so that whatever the attacker
computes in the test's does not count as theirs. It writes a line into the file for each run, ends when its standard
input does, and fails when a result is wrong or a step was not executed once.
"""

import asyncio
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from holdfast import App
from holdfast.client import Client
from holdfast.worker import Worker
from tests.support.processes import coordinator_process

CLIENTS = 4
"""How many runs are under way at any time."""
PAUSE_SECONDS = 0.01
QUEUE = "of the honest"
START_SECONDS = 60.0
STOP_SECONDS = 60.0
RUNS_MIN = 10
"""How many runs of a phase say something of its latencies."""
TIMES_SLOWER_MAX = 4
SPARE_SECONDS = 5.0
"""What the percentile may grow by whatever the factor: attacker, bystanders and coordinator share a few cores here, and
of a short attack the percentile is the slowest run. A coordinator that is held up takes longer."""

app = App("bystanders")
executions: Counter[str] = Counter()


@app.step
async def doubled(number: int) -> int:
    executions[f"doubled {number}"] += 1
    return 2 * number


@app.step(placement="queued")
async def with_one_more(number: int, of: int) -> int:
    executions[f"with_one_more {of}"] += 1
    return number + 1


@app.workflow
async def honest_work(number: int) -> int:
    return await with_one_more(await doubled(number), number)


@dataclass(slots=True, frozen=True)
class Latencies:
    """Seconds from start to result, of runs that were begun in one phase."""

    seconds: tuple[float, ...]

    @property
    def p99(self) -> float:
        """The 99th percentile."""
        return statistics.quantiles(self.seconds, n=100, method="inclusive")[98]


class Bystanders:
    """The process, as the test sees it; leaving it waits for its end, and fails when that is not a good one."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._directory = tempfile.TemporaryDirectory()
        self._lines = Path(self._directory.name) / "runs"
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", __name__, self._address, str(self._lines)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._taken():
            assert self._process.poll() is None, self._process.communicate()[0]
            assert time.monotonic() < deadline, "no honest run has come through"
            time.sleep(0.05)
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        assert self._process is not None
        try:
            output, _ = self._process.communicate(timeout=STOP_SECONDS)  # closes its input
        except subprocess.TimeoutExpired:
            self._process.kill()
            output, _ = self._process.communicate()
        self._directory.cleanup()
        if kind is None:
            assert self._process.returncode == 0, output

    def wait_for(self, runs: int, *, seconds: float) -> Latencies:
        """Of the runs that begin from now on: of as many, or more, and over this time at least."""
        began_at = time.monotonic()
        while True:
            time.sleep(0.1)
            now = time.monotonic()
            seen = self.between(began_at, now)
            if now >= began_at + seconds and len(seen.seconds) >= runs:
                return seen
            assert now < began_at + seconds + START_SECONDS, f"{len(seen.seconds)} runs of {runs}"

    def between(self, began_at: float, ended_at: float) -> Latencies:
        """Of the runs that were begun in this time, of the monotonic clock."""
        return Latencies(tuple(seconds for at, seconds in self._taken() if began_at <= at < ended_at))

    def _taken(self) -> list[tuple[float, float]]:
        if not self._lines.exists():
            return []
        text = self._lines.read_text()
        lines = [line.split() for line in text[: text.rfind("\n") + 1].splitlines()]
        return [(float(at), float(seconds)) for at, seconds in lines]


@contextmanager
def beside(address: str) -> Iterator[None]:
    """Honest work before and during the block, which must not be much slower during it."""
    with Bystanders(address) as bystanders:
        quiet = bystanders.wait_for(10 * RUNS_MIN, seconds=1)
        began_at = time.monotonic()
        yield
        attacked = bystanders.between(began_at, time.monotonic())
        if len(attacked.seconds) < RUNS_MIN:  # it was over soon; those that it held up have not come yet
            bystanders.wait_for(RUNS_MIN, seconds=0)
            attacked = bystanders.between(began_at, time.monotonic())
        not_much_slower(quiet, attacked)


def not_much_slower(quiet: Latencies, attacked: Latencies) -> None:
    """Fails when the percentile has grown by more than a loaded machine explains."""
    limit = max(TIMES_SLOWER_MAX * quiet.p99, quiet.p99 + SPARE_SECONDS)
    assert attacked.p99 <= limit, f"p99 was {quiet.p99:.3f} s, and is {attacked.p99:.3f} s beside the attack"


def open_files(pid: int) -> int:
    """How many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def rss_bytes(pid: int) -> int:
    """The memory that a process has in use."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def nothing_grows(pid: int, *, megabytes: int, files: int = 10) -> Iterator[None]:
    """Fails when the process has much more memory or descriptors in use a while afterwards."""
    memory, descriptors = rss_bytes(pid), open_files(pid)
    yield
    deadline = time.monotonic() + 20
    while open_files(pid) > descriptors + files and time.monotonic() < deadline:
        time.sleep(0.1)
    assert open_files(pid) <= descriptors + files, f"{descriptors} descriptors before, {open_files(pid)} after"
    grown = (rss_bytes(pid) - memory) // 1_000_000
    assert grown <= megabytes, f"{memory // 1_000_000} MB before, {grown} MB more after"


# The process itself


@contextmanager
def under_attack(database_url: str) -> Iterator[tuple[asyncio.Runner, str]]:
    """A loop for what attacks, and the address of a coordinator process with honest work beside.

    Afterwards the honest work is right, nothing has grown, and the coordinator has logged no error.
    """
    with asyncio.Runner() as runner:
        process = coordinator_process(database_url, options=("--session-ttl", "60s"))
        runner.run(process.start())
        try:
            address = runner.run(process.wait_for_line(r"listens on (\S+:\d+)"))[1]
            with beside(address), nothing_grows(process.pid, megabytes=150):
                yield runner, address
            runner.run(process.stop())
            assert "Traceback" not in process.output
            assert [line for line in process.lines if "[error" in line] == []
        finally:
            runner.run(process.stop())


async def _work(address: str, lines: Path) -> None:
    ends = asyncio.Event()
    loop = asyncio.get_running_loop()

    def input_ended() -> None:
        loop.remove_reader(sys.stdin)
        ends.set()

    loop.add_reader(sys.stdin, input_ended)
    numbers = itertools.count(1)
    with lines.open("a", buffering=1) as file:
        async with Client.connect(address, timeout=30) as client:
            worker = Worker(client, QUEUE, workflows=[app])
            running = asyncio.create_task(worker.run())
            await worker.ready()
            async with asyncio.TaskGroup() as clients:
                for _ in range(CLIENTS):
                    clients.create_task(_start_and_wait(client, numbers, ends, file))
            worker.stop()
            await running
    done = next(numbers)
    expected = {f"{step} {number}": 1 for step in ("doubled", "with_one_more") for number in range(1, done)}
    assert executions == expected, executions - Counter(expected)


async def _start_and_wait(client: Client, numbers: Iterator[int], ends: asyncio.Event, file: object) -> None:
    while not ends.is_set():
        number, began_at = next(numbers), time.monotonic()
        run = await client.start(honest_work.with_options(queue=QUEUE), number)
        result = await run.result(timeout=60)
        assert result == 2 * number + 1, (number, result)
        print(began_at, time.monotonic() - began_at, file=file)  # type: ignore[call-overload]
        await asyncio.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    # Imported by its name, for the steps of a module that is run have another one.
    from tests.support import bystanders

    asyncio.run(bystanders._work(sys.argv[1], Path(sys.argv[2])))
