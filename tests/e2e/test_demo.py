"""`holdfast demo` from start to end on a few made distributions: it survives its own SIGKILL and leaves nothing."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.made_packages import DISTRIBUTIONS, FILES, demo_process, make_packages
from tests.support.otlp_sink import OtlpSink, otlp_sink
from tests.support.processes import Process

from ..docs import pages

pytestmark = pytest.mark.asyncio(loop_scope="module")

DRAWN_SPAN = r"[│├└─\s]*((?:run|step|attempt) .+?)  \+\S.*?  \S+?(  .*)?"
"""A line of the tree: what it is, then its times, then what is told of it."""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the demo audits."""
    return make_packages(tmp_path_factory.mktemp("packages"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sink() -> AsyncIterator[OtlpSink]:
    """The collector of the demo that has ended."""
    async with otlp_sink() as sink:
        yield sink


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ended(packages: Path, sink: OtlpSink) -> AsyncIterator[Process]:
    """A demo that went well, with its trace exported."""
    async with demo_process(packages, "--otlp", sink.url) as process:
        code = await process.wait(seconds=80)
        assert code == 0, process.output
        yield process


async def test_the_demo_reports_what_a_direct_computation_finds_though_a_worker_was_killed(ended: Process) -> None:
    report = {line[:18].strip(): line[18:].split() for line in ended.lines}
    assert report["distributions"][0] == str(DISTRIBUTIONS)
    assert report["verified"][0] == f"{DISTRIBUTIONS * FILES - 1:,}"
    assert report["mismatched"][0] == "1"
    assert report["direct computation"][0] == "equal"
    assert "SIGKILL" in ended.output, ended.output


async def test_the_demo_draws_the_attempts_that_the_killed_worker_lost(ended: Process) -> None:
    drawn = told(ended.lines)
    assert "attempt verify_chunk  #1  lost, WORKER" in drawn, ended.output
    assert "attempt verify_chunk  #2  completed, WORKER" in drawn, ended.output
    start = next(place for place, line in enumerate(ended.lines) if re.fullmatch(r"trace [0-9a-f]{32}", line))
    assert len(ended.lines[start : ended.lines.index("", start)]) <= 42


@pytest.mark.parametrize("page", ["README.md", "docs/telemetry.md"])
async def test_a_page_shows_a_trace_as_the_demo_draws_it(page: str, ended: Process) -> None:
    """Times and ids differ, and the demo's run may have more steps; what is there is drawn alike, and in this order."""
    shown = next(block for block in pages.blocks(page, "text") if "lost" in block.text)
    drawn = iter(told(ended.lines))
    wanted = told(shown.text.splitlines())
    assert len(wanted) > 5
    assert [line for line in wanted if line not in drawn] == [], ended.output


async def test_the_whole_audit_is_exported_as_one_trace(ended: Process, sink: OtlpSink) -> None:
    trace_id = next(line for line in ended.lines if re.fullmatch(r"trace [0-9a-f]{32}", line)).removeprefix("trace ")
    assert f"http://localhost:16686/trace/{trace_id}" in ended.output
    spans = {span.span_id: span for span in sink.spans}
    assert {span.trace_id for span in spans.values()} == {trace_id}
    assert sum(span.name == "run audit_distribution" for span in spans.values()) == DISTRIBUTIONS
    (root,) = [span for span in spans.values() if not span.parent_id]
    assert root.name == "run audit_machine"
    assert [span for span in spans.values() if span is not root and span.parent_id not in spans] == []
    assert any(span.attributes.get("holdfast.attempt.outcome") == "lost" for span in spans.values())


def told(lines: Iterable[str]) -> list[str]:
    """The spans of a drawn tree, in order, without their places, times and workers."""
    matches = (re.fullmatch(DRAWN_SPAN, line) for line in lines)
    return [re.sub(r"ses_\w{6}\b", "WORKER", match[1] + (match[2] or "")) for match in matches if match]


async def test_the_demo_ends_with_everything_it_started_when_interrupted(packages: Path) -> None:
    async with demo_process(packages) as demo:
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
