"""What a real backend shows of runs that real coordinators and workers have made, and that crashes went through."""

import asyncio
import signal
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from holdfast.channel.run_calls import RunCalls
from holdfast.client import Client
from holdfast_coordinator.telemetry.spans import SpanStatus
from tests.support import flows_crash
from tests.support.cell_rows import read_cell
from tests.support.invariants import check
from tests.support.ledger import Ledger
from tests.support.processes import Process, coordinator_process, free_port, worker_process
from tests.support.watching import until

from .query import ShownSpan
from .server import Jaeger

SHOWN_SECONDS = 30.0


@pytest.mark.feature("F123", "F124")
async def test_a_run_whose_worker_and_coordinator_were_killed_is_one_whole_trace(
    database: str, jaeger: Jaeger, tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path / "ledger")
    port = free_port()
    address = f"127.0.0.1:{port}"
    async with AsyncExitStack() as stack:
        await _kill_both_in_the_middle(database, jaeger, ledger, port)
        await stack.enter_async_context(_replica(database, jaeger, port))
        client = await stack.enter_async_context(Client.connect(address, timeout=30))
        again = worker_process(address, flows_crash.__name__, environment={"FLOWS_VERSION": "2"})
        await stack.enter_async_context(again)
        run = await client.get("three-steps")
        assert await run.result(timeout=30) == "saved old"
        spans = await _shown(jaeger, run.run_id)
        # Another replica, which knows of the run only what is stored, exports it once more.
        other = await stack.enter_async_context(_replica(database, jaeger, free_port()))
        at = (await other.wait_for_line(r"listens on (\S+:\d+)"))[1]
        asker = await stack.enter_async_context(Client.connect(at, timeout=30))
        exported = await RunCalls(asker.connection, asker.namespace).export_trace(run.run_id)
    check(read_cell(database))

    assert exported.spans == len(spans)
    after = await _shown(jaeger, run.run_id)
    assert Counter(span.span_id for span in after) == {span.span_id: 1 for span in spans}
    assert [span.warnings for span in after if span.warnings] == []
    assert [warnings for _, warnings in jaeger.query.web_page(after[0].trace_id) if warnings] == []
    _is_the_tree_of_three_steps(after)


def _is_the_tree_of_three_steps(spans: list[ShownSpan]) -> None:
    by_id = {span.span_id: span for span in spans}
    (root,) = [span for span in spans if not span.parent_id]
    assert (root.name, root.status) == ("run three_steps", SpanStatus.OK)
    for span in spans:
        if span is not root:
            above = by_id[span.parent_id]
            assert above.start_ns <= span.start_ns <= span.end_ns <= above.end_ns, (span, above)
    steps = {span.name: span for span in spans if span.name.startswith("step ")}
    assert set(steps) == {"step fetch", "step process", "step save"}
    assert {span.status for span in steps.values()} == {SpanStatus.OK}
    attempts = sorted(
        (span for span in spans if span.parent_id == steps["step save"].span_id and span.name == "attempt save"),
        key=lambda span: span.start_ns,
    )
    outcomes = [span.attributes["holdfast.attempt.outcome"] for span in attempts]
    assert outcomes == ["lost", "completed"]
    assert len({span.attributes["holdfast.worker.id"] for span in attempts}) == 2


async def _kill_both_in_the_middle(database: str, jaeger: Jaeger, ledger: Ledger, port: int) -> None:
    """Starts the run and kills the worker in its last step, and the coordinator with it."""
    async with _replica(database, jaeger, port) as replica:
        await replica.wait_for_line("listens on")
        address = f"127.0.0.1:{port}"
        async with (
            worker_process(address, flows_crash.__name__) as worker,
            Client.connect(address, timeout=30) as client,
        ):
            await client.start(flows_crash.three_steps.with_options(id="three-steps"), ledger.path)
            await ledger.wait_for("save old")
            worker.send(signal.SIGKILL)
            replica.send(signal.SIGKILL)
            await asyncio.gather(worker.wait(), replica.wait())


def _replica(database: str, jaeger: Jaeger, port: int) -> Process:
    return coordinator_process(database, port=port, options=["--otlp", f"http://{jaeger.otlp}"])


async def _shown(jaeger: Jaeger, run_id: str) -> list[ShownSpan]:
    """The spans of a run, once its run span is there."""

    async def look() -> list[ShownSpan]:
        found = await asyncio.to_thread(jaeger.query.find, "holdfast", holdfast__run__id=run_id)
        return [span for trace_id in found for span in await asyncio.to_thread(jaeger.query.trace, trace_id)]

    return await until(look, lambda spans: any(not span.parent_id for span in spans), seconds=SHOWN_SECONDS)
