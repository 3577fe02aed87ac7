"""What can be decorated and how it behaves in a run."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from threading import get_ident

import pytest

from holdfast import App, RunFailed, StepFailed, constant
from holdfast.authoring.apps import DuplicateName
from holdfast.client import Client, by_name
from holdfast.journal import StepScheduled
from holdfast.worker import Worker
from tests.support.processes import worker_process
from tests.support.watching import kinds

from .conftest import LOOK_SECONDS, Coordinator, WorkerFactory, WorkerProcessFactory

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(30)]

BLOCKED_SECONDS = 0.5 + 2 * LOOK_SECONDS
"""Longer than others need, also where the worker's replica looks for their starts, and the client's for their ends."""

app = App("authoring", backoff=constant(0))
calls: list[str] = []


@pytest.fixture(autouse=True)
def _no_calls_yet() -> None:
    calls.clear()


@app.step
async def bare(x: int) -> int:
    return x + 1


@app.step()
async def with_parentheses(x: int) -> int:
    return x + 10


@app.step("step_named_by_position")
async def by_position(x: int) -> int:
    return x + 100


@app.step(name="step_named_by_keyword")
async def by_keyword(x: int) -> int:
    return x + 1_000


@app.workflow
async def bare_workflow(x: int) -> int:
    for step in (bare, with_parentheses, by_position, by_keyword):
        x = await step(x)
    return x


@app.workflow()
async def workflow_with_parentheses() -> str:
    return "parentheses"


@app.workflow("named_by_position")
async def _by_position() -> str:
    return "position"


@app.workflow(name="named_by_keyword")
async def _by_keyword() -> str:
    return "keyword"


@pytest.mark.feature("F1")
async def test_steps_decorated_in_four_ways_run_under_their_names(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(bare_workflow.with_options(queue=queue), 0)
        assert await run.result(timeout=10) == 1_111
    scheduled = [one.entry.name for one in await run.history() if isinstance(one.entry, StepScheduled)]
    assert scheduled == ["bare", "with_parentheses", "step_named_by_position", "step_named_by_keyword"]


@pytest.mark.feature("F2")
async def test_workflows_decorated_in_four_ways_start_by_function_and_by_name(
    client: Client, worker: WorkerFactory
) -> None:
    """By name the default queue is meant, so that is the worker's."""
    async with worker(queue="default", workflows=[app]):
        assert await client.run(bare_workflow, 0) == await client.run("bare_workflow", 0)
        for workflow, name, answer in (
            (workflow_with_parentheses, "workflow_with_parentheses", "parentheses"),
            (_by_position, "named_by_position", "position"),
            (_by_keyword, "named_by_keyword", "keyword"),
        ):
            assert await client.run(workflow) == answer
            assert await client.run(name) == answer


@app.step
async def is_in_stock(item: str) -> bool:
    return item != "unicorn"


@app.step(retries=0)
async def pack(item: str) -> str:
    if item == "glass":
        raise ValueError("too fragile")
    return f"packed {item}"


@app.workflow
async def shop(items: list[str]) -> list[str]:
    done = []
    for item in items:
        if not await is_in_stock(item):
            done.append(f"no {item}")
            continue
        try:
            done.append(await pack(item))
        except StepFailed as failure:
            done.append(f"{item}: {failure.message}")
    return done


@pytest.mark.feature("F3")
async def test_if_for_and_try_around_steps_follow_their_results(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """Also the second time."""
    async with worker(workflows=[app]):
        for _ in range(2):
            run = await client.start(shop.with_options(queue=queue), ["book", "unicorn", "glass"])
            assert await run.result(timeout=10) == ["packed book", "no unicorn", "glass: too fragile"]


@pytest.mark.feature("F14")
async def test_two_apps_with_one_name_for_two_functions_make_no_worker(client: Client) -> None:
    """The same app twice is no conflict."""
    other = App("other authoring")

    @other.step(name="bare")
    async def impostor(x: int) -> int:
        return x

    with pytest.raises(DuplicateName, match=r"'bare'.*test_authoring\.bare.*impostor") as caught:
        Worker(client, workflows=[app, other])
    assert caught.value.name == "bare"
    Worker(client, workflows=[app, app, bare_workflow], steps=[bare])


@app.step
def blocks(seconds: float) -> int:
    time.sleep(seconds)
    return get_ident()


@app.step
async def returns_its_thread() -> int:
    return get_ident()


@app.workflow
async def blocks_once() -> int:
    return await blocks(BLOCKED_SECONDS)


@app.workflow
async def quick() -> int:
    return await returns_its_thread()


@pytest.mark.feature("F15")
@pytest.mark.alone
async def test_a_blocking_plain_step_delays_no_async_step(client: Client, worker: WorkerFactory, queue: str) -> None:
    async with worker(workflows=[app]):
        blocked = await client.start(blocks_once.with_options(queue=queue))
        begun = time.monotonic()
        quick_runs = [await client.start(quick.with_options(queue=queue)) for _ in range(10)]
        threads = await asyncio.gather(*(run.result(timeout=10) for run in quick_runs))
        assert time.monotonic() - begun < BLOCKED_SECONDS - 0.05
        assert set(threads) == {get_ident()}
        assert await blocked.result(timeout=10) != get_ident()


@pytest.mark.feature("F16")
async def test_a_step_called_outside_a_run_is_its_function(client: Client) -> None:
    """A coordinator is there and hears nothing of it."""
    runs = await client.list(limit=1_000)
    assert await bare(20) == 21
    assert isinstance(blocks.function(0), int)
    assert len(await client.list(limit=1_000)) == len(runs)


@app.step
async def shared(caller: str) -> str:
    calls.append(caller)
    return f"for {caller}"


@app.workflow(id="first-{key}")
async def first_caller(key: str) -> str:
    return await shared(f"first {key}")


@app.workflow(id="second-{key}")
async def second_caller(key: str) -> str:
    return await shared(f"second {key}")


@pytest.mark.feature("F17")
async def test_two_workflows_share_a_step_and_repeated_ids_execute_nothing(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        for _ in range(2):
            assert await client.run(first_caller.with_options(queue=queue), "a") == "for first a"
            assert await client.run(second_caller.with_options(queue=queue), "a") == "for second a"
    assert calls == ["first a", "second a"]


@app.workflow(metadata={"team": "backend", "tier": 1})
async def labelled() -> None: ...


@pytest.mark.feature("F18")
async def test_metadata_of_workflow_and_run_is_shown_and_filterable(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """What the start says wins."""
    async with worker(workflows=[app]):
        run = await client.start(labelled.with_options(queue=queue, metadata={"batch_id": 42, "tier": 2}))
        other = await client.start(labelled.with_options(queue=queue))
        await asyncio.gather(run.result(timeout=10), other.result(timeout=10))
    assert (await run.describe()).metadata == {"team": "backend", "tier": "2", "batch_id": "42"}
    found = await client.list(metadata={"team": "backend", "batch_id": "42"})
    assert [one.run_id for one in found] == [run.run_id]
    assert {one.run_id for one in await client.list(metadata={"team": "backend"})} == {run.run_id, other.run_id}
    assert not (await client.list(metadata={"team": "frontend"})).runs


@app.step(retries=5)
async def takes_a_number(x: int) -> int:
    calls.append("takes_a_number")
    return x


@app.workflow
async def passes_on(value: str) -> int:
    return await takes_a_number(value)  # type: ignore[arg-type]


@pytest.mark.feature("F19")
async def test_an_argument_that_does_not_fit_fails_its_step_at_once(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """ "3" is read as 3, "x" fails without a retry and without an execution."""
    async with worker(workflows=[app]):
        assert await client.run(passes_on.with_options(queue=queue), "3") == 3
        run = await client.start(passes_on.with_options(queue=queue), "x")
        with pytest.raises(RunFailed, match=r"step takes_a_number: argument 'x' does not fit") as caught:
            await run.result(timeout=10)
    assert caught.value.error_type == "ArgumentsRejected"
    assert calls == ["takes_a_number"]
    assert await kinds(run) == ["RunStarted", "StepScheduled", "StepFailed", "RunClosed"]


@pytest.mark.feature("F20")
async def test_a_generator_cannot_become_a_step() -> None:
    with pytest.raises(TypeError, match=r"cannot take .*numbers: it is a generator"):

        @app.step
        def numbers() -> Iterator[int]:
            yield 1


@pytest.mark.feature("F22")
async def test_a_method_cannot_become_a_step_and_the_error_says_what_to_do() -> None:
    with pytest.raises(TypeError, match=r"cannot take the method .*Till\.count.*module-level function"):

        class Till:
            @app.step
            async def count(self) -> int:
                return 0


@app.step
async def has_its_own_step_id(step_id: str, x: int = 1) -> str:
    calls.append(step_id)
    return f"{step_id}:{x}"


@app.workflow
async def calls_with_its_own_step_id() -> list[str]:
    return [
        await has_its_own_step_id(step_id="mine"),
        await has_its_own_step_id.with_options(step_id="ours")(step_id="mine", x=2),
    ]


@pytest.mark.feature("F22")
async def test_a_step_may_have_a_parameter_called_step_id(client: Client, worker: WorkerFactory, queue: str) -> None:
    async with worker(workflows=[app]):
        run = await client.start(calls_with_its_own_step_id.with_options(queue=queue))
        assert await run.result(timeout=10) == ["mine:1", "mine:2"]


@app.step
async def append(value: str) -> int:
    calls.append(value)
    return len(calls)


@app.workflow
async def appends_twice() -> list[int]:
    return [await append("a"), await append("a")]


@pytest.mark.feature("F39")
async def test_a_step_called_twice_with_equal_arguments_is_executed_twice(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(appends_twice.with_options(queue=queue))
        assert await run.result(timeout=10) == [1, 2]
    assert calls == ["a", "a"]


@app.workflow
async def reuses_a_step_id() -> list[int]:
    return [await append.with_options(step_id="same")(str(number)) for number in range(3)]


@pytest.mark.feature("F40")
async def test_a_step_id_that_is_used_twice_fails_the_run_by_name(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(reuses_a_step_id.with_options(queue=queue))
        with pytest.raises(RunFailed, match="step_id 'same' is used twice") as caught:
            await run.result(timeout=10)
    assert caught.value.error_type == "DuplicateStepId"
    assert calls == ["0"]


MODULE = """
import holdfast

@holdfast.workflow
async def {name}() -> str:
    return "{name} answers"
"""


@pytest.mark.feature("F21")
async def test_a_worker_process_serves_the_workflows_of_all_its_modules(
    client: Client, process_worker: WorkerProcessFactory, queue: str, tmp_path: Path
) -> None:
    """Modules of the command line; of the environment below."""
    for name in ("morning", "evening"):
        (tmp_path / f"{name}_flows.py").write_text(MODULE.format(name=name))
    path = {"PYTHONPATH": str(tmp_path)}
    async with process_worker("morning_flows", "evening_flows", environment=path) as process:
        await process.wait_for_line(r"2 workflow\(s\) and 0 step\(s\)")
        for name in ("morning", "evening"):
            assert await client.run(by_name(name).with_options(queue=queue)) == f"{name} answers"


@pytest.mark.feature("F21")
async def test_a_worker_process_takes_its_modules_from_the_environment(
    client: Client, process_worker: WorkerProcessFactory, queue: str, tmp_path: Path
) -> None:
    (tmp_path / "noon_flows.py").write_text(MODULE.format(name="noon"))
    environment = {"PYTHONPATH": str(tmp_path), "HOLDFAST_MODULES": "noon_flows", "HOLDFAST_QUEUE": queue}
    async with process_worker(environment=environment) as process:
        await process.wait_for_line(r"1 workflow\(s\)")


@pytest.mark.feature("F21")
async def test_a_worker_whose_module_does_not_import_exits_with_the_reason(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    (tmp_path / "broken_flows.py").write_text("import holdfast\n\nraise RuntimeError('no licence')\n")
    process = worker_process(coordinator.address, "broken_flows", environment={"PYTHONPATH": str(tmp_path)})
    async with process:
        assert await process.wait() == 1
    (line,) = process.lines
    assert "broken_flows cannot be loaded: RuntimeError: no licence" in line
    assert "broken_flows.py, line 3" in line
