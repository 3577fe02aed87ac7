"""Graphs on workers: killed and gone on, reported, in pools, on several workers, from files."""

import asyncio
import json
import multiprocessing
import os
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from holdfast import Context, Graph, InvalidGraph, InvalidRequest, RunFailed, RunNotRetryable
from holdfast.client import Client, RunHandle, RunReport
from holdfast.client import by_name as named
from tests.support import flows_graphs as flows
from tests.support.ledger import Ledger, note
from tests.support.watching import until

from .conftest import Coordinator, WorkerFactory, WorkerProcessFactory

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODULE = "tests.support.flows_graphs"


def statuses(report: RunReport) -> dict[str, str]:
    return {task.name: task.status.value for task in report}


async def reported(run: RunHandle[Any], **expected: str) -> RunReport:
    """The report as soon as these tasks stand so."""
    return await until(run.report, lambda seen: expected.items() <= statuses(seen).items(), seconds=30)


@pytest.mark.feature("F9", "F34", "F116")
@pytest.mark.timeout(120)
async def test_a_graph_whose_worker_is_killed_goes_on_without_repeating_a_task_that_was_done(
    process_worker: WorkerProcessFactory, client: Client, queue: str, ledger: Ledger
) -> None:
    run = await client.start(flows.diamond.with_options(queue=queue), ledger.path)
    async with process_worker(MODULE) as first:
        await reported(run, top="completed", right="completed", left="running")
        await first.kill()
    ledger.let_go()
    async with process_worker(MODULE):
        assert await run.result(timeout=60) == {"bottom": 5}
    assert ledger.counts == {"top": 1, "right": 1, "left": 2, "bottom": 1}
    report = await run.report()
    assert statuses(report) == dict.fromkeys(("top", "left", "right", "bottom"), "completed")
    assert (report["left"].attempt, report["top"].attempt, report["left"].result) == (2, 1, 2)


@pytest_asyncio.fixture(loop_scope="module")
async def partly(
    process_worker: WorkerProcessFactory, client: Client, queue: str, ledger: Ledger
) -> AsyncIterator[RunHandle[Any]]:
    """A run in which a task has failed, its descendants were skipped, one runs and one waits for its retry."""
    run = await client.start(flows.partly.with_options(queue=queue, metadata={"batch_id": 42}), ledger.path)
    async with process_worker(MODULE) as worker:
        await reported(run, slow="failed", indep="running", patient="waiting_retry")
        yield run
        assert not worker.has_ended


@pytest.mark.feature("F84", "F116", "F18")
@pytest.mark.timeout(120)
async def test_the_report_says_of_each_task_how_it_stands(
    partly: RunHandle[Any], ledger: Ledger, coordinator: Coordinator
) -> None:
    report = await partly.report()
    assert report.status == "running"
    assert statuses(report) == {
        "slow": "failed", "indep": "running", "patient": "waiting_retry", "child": "skipped", "grand": "skipped",
    }  # fmt: skip
    slow, grand, patient, indep = (report[name] for name in ("slow", "grand", "patient", "indep"))
    assert (slow.attempt, slow.error, slow.step) == (1, "ValueError: kaput", "partly.slow")
    assert slow.started_at is not None
    assert slow.finished_at is not None
    assert slow.scheduled_at <= slow.started_at <= slow.finished_at
    assert (grand.attempt, grand.error, grand.started_at) == (0, "UPSTREAM_FAILED: task slow failed", None)
    assert patient.error == "KeyError: 'later'"
    assert (indep.started_at is not None, indep.finished_at, indep.result) == (True, None, None)
    assert report.metadata == {"batch_id": "42"}
    with pytest.raises(KeyError, match="has come to no task 'waiting', but to slow"):
        _ = report["waiting"]

    ledger.let_go()
    await reported(partly, indep="completed")
    shown = await printed(coordinator, "runs", "report", partly.run_id, "--output", "json")
    found = {task["name"]: task for task in json.loads(shown)["tasks"]}
    assert found["indep"]["result"] == "done"
    assert found["grand"]["error"] == "UPSTREAM_FAILED: task slow failed"
    table = await printed(coordinator, "runs", "report", partly.run_id)
    assert [line.split()[:2] for line in table.splitlines()[2:]] == [
        [task.name, task.status.value] for task in await partly.report()
    ]

    assert await partly.cancel(wait=True)
    report = await partly.report()
    assert report.status == "cancelled"
    assert report["patient"].status == "cancelled"
    assert report["patient"].finished_at is not None


async def printed(coordinator: Coordinator, *arguments: str, directory: Path | None = None) -> str:
    """What a command prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "holdfast", *arguments, stdout=asyncio.subprocess.PIPE, cwd=directory,
        env=os.environ | {"HOLDFAST_ADDRESS": coordinator.address},
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


@pytest.mark.feature("F84")
@pytest.mark.timeout(120)
async def test_what_was_skipped_stays_so_over_a_kill_and_is_in_the_journal_once(
    process_worker: WorkerProcessFactory, client: Client, queue: str, ledger: Ledger
) -> None:
    part = flows.partly.subgraph(["grand", "indep"])
    run = await client.start(part.with_options(queue=queue), ledger.path)
    async with process_worker(MODULE) as first:
        await reported(run, grand="skipped", indep="running")
        await first.kill()
    ledger.let_go()
    async with process_worker(MODULE):
        with pytest.raises(RunFailed, match="kaput"):
            await run.result(timeout=60)
    assert ledger.counts == {"slow": 1, "indep": 2}
    kinds = [entry.type for entry in await run.history()]
    assert kinds.count("StepSkipped") == 2
    assert statuses(await run.report()) == {
        "slow": "failed", "indep": "completed", "child": "skipped", "grand": "skipped",
    }  # fmt: skip


@pytest.mark.feature("F36", "F84")
@pytest.mark.timeout(120)
async def test_a_retried_graph_repeats_what_failed_runs_what_was_skipped_and_nothing_that_was_done(
    process_worker: WorkerProcessFactory, client: Client, queue: str, ledger: Ledger
) -> None:
    part = flows.partly.subgraph(["grand", "after"])
    run = await client.start(part.with_options(queue=queue), ledger.path)
    async with process_worker(MODULE):
        await reported(run, grand="skipped", indep="running")
        ledger.let_go()
        with pytest.raises(RunFailed, match="kaput"):
            await run.result(timeout=60)
        Ledger(Path(f"{ledger.path}.mended")).let_go()
        again = await run.retry()
        assert await again.result(timeout=60) == {"grand": None, "after": "after done"}
    # Also `after`, which was called after the failure, has been executed once.
    assert ledger.counts == {"slow": 2, "indep": 1, "after": 1, "child": 1, "grand": 1}
    assert statuses(await again.report()) == dict.fromkeys(("slow", "indep", "after", "child", "grand"), "completed")


@pytest.mark.feature("F53")
@pytest.mark.timeout(60)
async def test_a_part_of_a_graph_is_run_by_a_worker_that_has_the_whole(
    worker: WorkerFactory, client: Client, queue: str, ledger: Ledger
) -> None:
    async with worker(workflows=[flows.diamond]):
        part = await client.start(flows.diamond.subgraph(["right"]).with_options(queue=queue), ledger.path)
        assert await part.result(timeout=20) == {"right": 3}
        assert set(statuses(await part.report())) == {"top", "right"}
        by_name = await client.start(named("diamond").with_options(queue=queue), ledger.path, only=["top"])
        assert await by_name.result(timeout=20) == {"top": 1}
    assert ledger.counts == {"top": 2, "right": 1}


@pytest.mark.feature("F148")
@pytest.mark.timeout(60)
async def test_a_graph_that_is_called_where_there_is_a_default_client_is_a_durable_run(
    worker: WorkerFactory, client: Client, queue: str
) -> None:
    g = Graph(f"called-{queue}", queue=queue, inputs={"x": int})
    g.task(name="double")(lambda x: 2 * x)
    g.task(name="add", deps=["double"])(lambda double: double + 1)
    async with worker(workflows=[g]):
        with client.as_default():
            assert await g(2) == {"add": 5}
            assert await g.subgraph(["double"])(3) == {"double": 6}
    assert [run.status.value for run in await client.list(workflow=g.name)] == ["completed"] * 2


@pytest.mark.feature("F92")
@pytest.mark.timeout(120)
async def test_tasks_run_in_a_process_pool_that_outlives_the_worker(
    worker: WorkerFactory, client: Client, queue: str
) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        async with worker(workflows=[flows.pooled], executor=pool):
            run = await client.start(flows.pooled.with_options(queue=queue))
            first, second = (await run.result(timeout=60))["pids"]
        assert os.getpid() not in (first, second)
        assert pool.submit(os.getpid).result(timeout=20) == first == second


@pytest.mark.feature("F91")
@pytest.mark.timeout(60)
async def test_a_plain_task_that_looks_ends_when_its_run_is_cancelled(
    process_worker: WorkerProcessFactory, client: Client, queue: str, ledger: Ledger
) -> None:
    async with process_worker(MODULE):
        run = await client.start(flows.endless.with_options(queue=queue), ledger.path)
        await ledger.wait_for("loops")
        assert await run.cancel(wait=True)
        await ledger.wait_for("ended")
        ledger.let_go()
    assert statuses(await run.report()) == {"loops": "cancelled"}


@pytest.mark.feature("F90")
@pytest.mark.timeout(60)
async def test_tasks_on_two_workers_both_get_the_live_objects_of_their_worker(
    worker: WorkerFactory, client: Client, queue: str, ledger: Ledger
) -> None:
    async with AsyncExitStack() as stack:
        for region in ("north", "south"):
            deps = {"region": region, "make_client": lambda region=region: f"client of {region}"}
            await stack.enter_async_context(worker(workflows=[flows.spread], deps=deps, max_steps=1))
        run = await client.start(flows.spread.with_options(queue=queue), ledger.path)
        # Each worker takes one step at a time, and both steps are under way: so each has one.
        await ledger.wait_for("using", 2)
        ledger.let_go()
        found = await run.result(timeout=20)
    assert sorted(found.values()) == ["north client of north", "south client of south"]


SPEC = """
name: from-file
max_parallel: 2
inputs: {start: integer}
tasks:
  double: {function: "graph_functions:double"}
  squares: {function: "graph_functions:squares", deps: [double], args: {count: 3}}
  total: {function: "graph_functions:total", retries: 1}
"""

FUNCTIONS = """
def double(start: int) -> int:
    return 2 * start

def squares(count: int, double: int) -> list[int]:
    return [double ** 2] * count

async def total(squares: list[int]) -> int:
    return sum(squares)
"""


@pytest.mark.feature("F162", "F12")
@pytest.mark.timeout(60)
async def test_a_graph_in_a_yaml_file_is_drawn_and_run(
    process_worker: WorkerProcessFactory,
    client: Client,
    coordinator: Coordinator,
    queue: str,
    tmp_path: Path,
) -> None:
    (tmp_path / "flow.yaml").write_text(SPEC)
    (tmp_path / "graph_functions.py").write_text(FUNCTIONS)
    tree = await printed(coordinator, "graph", "flow.yaml", directory=tmp_path)
    assert tree.splitlines() == ["from-file", "\\-- double", "    \\-- squares", "        \\-- total"]
    environment = {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    async with process_worker(str(tmp_path / "flow.yaml"), environment=environment) as worker:
        await worker.wait_for_line("ready")
        options = ("--queue", queue, "--input", '{"start": 2}')
        assert json.loads(await printed(coordinator, "run", "from-file", *options)) == {"total": 48}


@pytest.mark.feature("F53")
@pytest.mark.timeout(120)
async def test_a_finished_diamond_is_resumed_from_named_tasks_and_the_others_keep_their_results(
    process_worker: WorkerProcessFactory, client: Client, queue: str, ledger: Ledger
) -> None:
    start = flows.diamond.with_options(queue=queue, id=f"{queue}-diamond")
    async with process_worker(MODULE) as first:
        run = await client.start(start, ledger.path)
        await ledger.wait_for("left")
        with pytest.raises(RunNotRetryable, match="is running"):
            await run.retry(from_tasks=["left"], graph=flows.diamond)
        ledger.let_go()
        assert await run.result(timeout=60) == {"bottom": 5}
        with pytest.raises(InvalidGraph, match=r"graph diamond has no task 'lefft'\. Did you mean 'left'"):
            await run.retry(from_tasks=["lefft"], graph=flows.diamond)
        with pytest.raises(InvalidRequest, match="graph"):
            await run.retry(from_tasks=["left"])
        with pytest.raises(RunNotRetryable, match="is completed"):
            await run.retry()
        with pytest.raises(RunNotRetryable, match="from tasks of its graph that it has run"):
            await run.retry(from_tasks=["slow"], graph=flows.partly)
        assert ledger.counts == {"top": 1, "left": 1, "right": 1, "bottom": 1}
        again = await run.retry(from_tasks=["right"], graph=flows.diamond)
        assert await again.result(timeout=60) == {"bottom": 5}
        assert ledger.counts == {"top": 1, "left": 1, "right": 2, "bottom": 2}
        assert (await client.get(f"{queue}-diamond")).run_id == again.run_id
        assert statuses(await again.report()) == dict.fromkeys(("top", "left", "right", "bottom"), "completed")
        # The continuation of a continuation, whose worker dies in the middle of it.
        os.unlink(f"{ledger.path}.go")
        third = await again.retry(from_tasks=["left"], graph=flows.diamond)
        await ledger.wait_for("left", count=2)
        await first.kill()
    ledger.let_go()
    async with process_worker(MODULE):
        assert await third.result(timeout=60) == {"bottom": 5}
    assert ledger.counts["top"] == 1
    assert ledger.counts["right"] == 2
    assert ledger.counts["bottom"] == 3


keyed = Graph("keyed", inputs={"path": str})


@keyed.task
def first_key(ctx: Context[None], path: str) -> str:
    note(path, ctx.idempotency_key)
    return "first"


@keyed.task(deps=[first_key])
def second_key(ctx: Context[None], path: str) -> str:
    note(path, ctx.idempotency_key)
    return "second"


@pytest.mark.feature("F53")
async def test_a_task_that_is_asked_to_run_again_has_no_idempotency_key_that_was_used(
    worker: WorkerFactory, client: Client, queue: str, ledger: Ledger
) -> None:
    async with worker(workflows=[keyed]):
        run = await client.start(keyed.with_options(queue=queue), ledger.path)
        await run.result(timeout=20)
        again = await run.retry(from_tasks=["first_key"], graph=keyed)
        await again.result(timeout=20)
        await (await again.retry(from_tasks=["second_key"], graph=keyed)).result(timeout=20)
    assert len(ledger.lines) == 5
    assert len(set(ledger.lines)) == 5
