"""`holdfast demo` from start to end on a few made distributions: it survives its own SIGKILL and leaves nothing."""

import asyncio
import base64
import hashlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from .processes import Process

DISTRIBUTIONS = 12
FILES = 400
FILE_BYTES = 200_000


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """Distributions whose audit takes long enough to kill a worker in the middle of it; one file is not as recorded."""
    content = os.urandom(FILE_BYTES)
    said = "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    (tmp_path / "content").write_bytes(content)
    for number in range(DISTRIBUTIONS):
        info = tmp_path / f"made{number}-1.0.dist-info"
        info.mkdir()
        lines = []
        for file in range(FILES):
            name = f"made{number}_{file}.bin"
            os.link(tmp_path / "content", tmp_path / name)
            lines.append(f"{name},{said},{FILE_BYTES + (number == file == 0)}\n")
        (info / "RECORD").write_text("".join(lines))
    return tmp_path


@pytest_asyncio.fixture
async def demo(packages: Path) -> AsyncIterator[Process]:
    """The demo on these distributions."""
    command = [sys.executable, "-m", "holdfast", "demo", "--path", str(packages)]
    async with Process("demo", command) as process:
        yield process


async def test_the_demo_reports_what_a_direct_computation_finds_though_a_worker_was_killed(demo: Process) -> None:
    code = await demo.wait(seconds=80)
    assert code == 0, demo.output
    report = {line[:18].strip(): line[18:].split() for line in demo.lines}
    assert report["distributions"][0] == str(DISTRIBUTIONS)
    assert report["verified"][0] == f"{DISTRIBUTIONS * FILES - 1:,}"
    assert report["mismatched"][0] == "1"
    assert report["direct computation"][0] == "equal"
    assert "SIGKILL" in demo.output, demo.output
    assert "verify_chunk" in demo.output


async def test_the_demo_ends_with_everything_it_started_when_interrupted(demo: Process) -> None:
    await demo.wait_for_line("the audit begins", seconds=60)
    started = descendants(demo.pid)
    assert len(started) > 2
    demo.send(signal.SIGINT)
    assert await demo.wait(seconds=40) == 130, demo.output
    assert "Traceback" not in demo.output
    async with asyncio.timeout(10):
        while any(map(is_alive, started)):  # noqa: ASYNC110  nothing tells when a process of others has ended
            await asyncio.sleep(0.05)


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and theirs."""
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(text) for thread in threads for text in thread.read_text().split()]
    return [*children, *(further for child in children for further in descendants(child))]


def is_alive(pid: int) -> bool:
    """False when it has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
