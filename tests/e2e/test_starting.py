"""Starting runs and awaiting them, ids, keys and conflicts."""

import asyncio
import time
from typing import Any

import pytest

from holdfast import (
    App,
    ArgumentsRejected,
    RunAlreadyStarted,
    RunConflict,
    RunFailed,
    RunNotFound,
    WorkflowNotRegistered,
    constant,
    receive,
    sleep,
)
from holdfast.client import Client, RunHandle, by_name

from .conftest import LOOK_SECONDS, Coordinator, WorkerFactory

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(30)]

app = App("starting", backoff=constant(0))
calls: list[str] = []


@pytest.fixture(autouse=True)
def _no_calls_yet() -> None:
    calls.clear()


@app.step
async def noted(what: str) -> str:
    calls.append(what)
    return what


@app.workflow
async def dawdles(seconds: float, *, answer: str = "done") -> str:
    await sleep(seconds)
    return await noted(answer)


@pytest.mark.feature("F23")
@pytest.mark.alone
async def test_a_start_answers_with_an_id_before_the_run_ends(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """Positional and keyword arguments."""
    async with worker(workflows=[app]):
        begun = time.monotonic()
        run = await client.start(dawdles.with_options(queue=queue), 0.5, answer="late")
        assert time.monotonic() - begun < 0.4
        assert run.run_id.startswith("run_")
        assert run.id is None
        assert await run.status() in ("pending", "running", "suspended")
        assert await run.result(timeout=10) == "late"
        assert await run.status() == "completed"


@app.workflow(id="pipeline-{source}")
async def pipeline(source: str, size: int = 1) -> str:
    return await noted(f"{source}:{size}")


@pytest.mark.feature("F24")
async def test_a_template_makes_the_id_of_positional_and_keyword_arguments(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """And equal arguments are equal however they are written, defaults included."""
    async with worker(workflows=[app]):
        start = pipeline.with_options(queue=queue)
        one = await client.start(start, "users")
        other = await client.start(start, source="users", size=1)
        assert one.id == other.id == "pipeline-users"
        assert one.run_id == other.run_id
        assert await client.get("pipeline-users").result(timeout=10) == "users:1"


@pytest.mark.feature("F24")
async def test_an_explicit_id_is_honoured_and_beats_the_template(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(pipeline.with_options(id="my-run-123", queue=queue), "orders")
        assert run.id == "my-run-123"
        found = await client.get("my-run-123")
        assert found.run_id == run.run_id
        with pytest.raises(RunNotFound, match="pipeline-orders"):
            await client.get("pipeline-orders")


@pytest.mark.feature("F24")
async def test_a_template_with_an_unknown_parameter_is_refused_at_definition() -> None:
    with pytest.raises(ValueError, match=r"uses 'customer', which is not a parameter"):

        @app.workflow(id="order-{customer}")
        async def misspelt(user: str) -> None: ...


@pytest.mark.feature("F25")
async def test_a_finished_id_answers_with_its_result_and_executes_nothing(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """Reuse="new" makes another run."""
    async with worker(workflows=[app]):
        start = pipeline.with_options(id="again", queue=queue)
        assert await client.run(start, "a") == "a:1"
        first = await client.get("again")
        assert await client.run(start, "a") == "a:1"
        assert calls == ["a:1"]
        other = await client.start(pipeline.with_options(id="again", queue=queue, reuse="new"), "b")
        assert other.run_id != first.run_id
        assert await other.result(timeout=10) == "b:1"
        assert await first.result(timeout=10) == "a:1"
    assert calls == ["a:1", "b:1"]


@pytest.mark.feature("F26", "F118")
async def test_an_idempotency_key_answers_with_its_run_whether_open_or_closed(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """The run is also found by its key."""
    async with worker(workflows=[app]):
        start = dawdles.with_options(idempotency_key="order-ORD-123", queue=queue)
        first = await client.start(start, 0.1)
        second = await client.start(start, 0.1)
        assert await first.result(timeout=10) == "done"
        third = await client.start(start, 0.1)
        assert first.run_id == second.run_id == third.run_id
    assert calls == ["done"]
    assert [run.run_id for run in await client.list(idempotency_key="order-ORD-123")] == [first.run_id]
    assert not (await client.list(idempotency_key="order-ORD-124")).runs


@pytest.mark.feature("F26")
@pytest.mark.parametrize("options", [{"id": "at-once"}, {"idempotency_key": "at-once"}], ids=str)
async def test_concurrent_starts_of_one_id_or_key_execute_once(
    client: Client, coordinator: Coordinator, worker: WorkerFactory, queue: str, options: dict[str, Any]
) -> None:
    """Over two clients, each with several calls in flight."""
    options = {key: f"{value}-{key}" for key, value in options.items()}
    async with worker(workflows=[app]), Client.connect(coordinator.address) as other:
        start = dawdles.with_options(queue=queue, **options)
        clients = [client, other] * 10
        runs = await asyncio.gather(*(one.start(start, 0.05) for one in clients))
        assert len({run.run_id for run in runs}) == 1
        assert await asyncio.gather(*(run.result(timeout=10) for run in runs)) == ["done"] * 20
    assert calls == ["done"]


@pytest.mark.feature("F27")
@pytest.mark.parametrize("options", [{"id": "r1"}, {"idempotency_key": "r1"}], ids=str)
async def test_other_arguments_for_an_id_or_key_are_a_conflict_that_names_the_run(
    client: Client, worker: WorkerFactory, queue: str, options: dict[str, Any]
) -> None:
    """While the run is open and after it has closed; so is another workflow."""
    async with worker(workflows=[app]):
        start = dawdles.with_options(queue=queue, **options)
        run = await client.start(start, 0.1)
        for is_closed in (False, True):
            if is_closed:
                assert await run.result(timeout=10) == "done"
            with pytest.raises(RunConflict, match=r"r1.*another 'seconds'") as caught:
                await client.start(start, 0.2)
            assert caught.value.run_id == run.run_id
            with pytest.raises(RunConflict, match="workflow 'dawdles'"):
                await client.start(pipeline.with_options(queue=queue, **options), "a")
        assert (await run.describe()).args == (0.1,)
    assert calls == ["done"]


@pytest.mark.feature("F27")
async def test_the_policies_for_an_open_id_reject_or_terminate(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        first = await client.start(waits.with_options(id="busy", queue=queue))
        with pytest.raises(RunAlreadyStarted, match="'busy'") as caught:
            await client.start(waits.with_options(id="busy", queue=queue, on_conflict="reject"))
        assert (caught.value.id, caught.value.run_id) == ("busy", first.run_id)
        second = await client.start(waits.with_options(id="busy", queue=queue, on_conflict="terminate"))
        assert second.run_id != first.run_id
        assert await first.status() == "terminated"
        assert (await client.get("busy")).run_id == second.run_id
        await second.terminate()


@app.workflow
async def waits() -> None:
    await receive("never")


@pytest.mark.feature("F28")
async def test_a_name_that_no_worker_ever_registered_is_refused_with_the_nearest_one(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """Without workers on the queue the run waits instead, and says for what."""
    early = await client.start(by_name("dawdle").with_options(queue=queue), 1)
    assert await early.status() == "pending"
    reason = (await early.describe()).reason
    assert reason is not None
    assert queue in reason
    assert "'dawdle'" in reason
    await early.terminate()
    async with worker(workflows=[app]):
        with pytest.raises(WorkflowNotRegistered, match=r"'dawdle'.*did you mean 'dawdles'") as caught:
            await client.start(by_name("dawdle").with_options(queue=queue), 1)
        assert caught.value.suggestion == "dawdles"
    assert [run.run_id for run in await client.list(workflow="dawdle")] == [early.run_id]


@pytest.mark.feature("F29")
@pytest.mark.parametrize("by", ["function", "name"])
@pytest.mark.parametrize(
    ("args", "kwargs", "parameter", "reason"),
    [
        ((), {}, "source", "is missing"),
        (("a",), {"sise": 2}, "sise", "is not a parameter"),
        (("a",), {"source": "b"}, "source", "twice"),
        (("a", 1, 2), {}, "", "one too many|takes 2"),
    ],
    ids=["missing", "unknown", "twice", "too many"],
)
async def test_wrong_arguments_are_refused_at_start_naming_the_parameter(
    client: Client,
    worker: WorkerFactory,
    queue: str,
    by: str,
    args: tuple[object, ...],
    kwargs: dict[str, object],
    parameter: str,
    reason: str,
) -> None:
    """By the client when it has the function, else by the coordinator; nothing is stored."""
    async with worker(workflows=[app]):
        start = (pipeline if by == "function" else by_name("pipeline")).with_options(id=f"wrong-{queue}", queue=queue)
        with pytest.raises(ArgumentsRejected, match=reason) as caught:
            await client.start(start, *args, **kwargs)
        assert parameter in caught.value.parameter
        assert "pipeline" in caught.value.target
        with pytest.raises(RunNotFound):
            await client.get(f"wrong-{queue}").status()


@app.workflow
async def breaks() -> None:
    try:
        raise KeyError("inner")
    except KeyError as error:
        raise ValueError("kaput") from error


@pytest.mark.feature("F30")
async def test_another_client_gets_the_original_error_of_a_failed_run(
    client: Client, coordinator: Coordinator, worker: WorkerFactory, queue: str
) -> None:
    """Type, text, traceback and cause."""
    async with worker(workflows=[app]):
        run = await client.start(breaks.with_options(queue=queue))
        async with Client.connect(coordinator.address) as other:
            with pytest.raises(RunFailed, match="ValueError: kaput") as caught:
                await other.get(run.run_id).result(timeout=10)
    error = caught.value
    assert (error.run_id, error.error_type, error.message) == (run.run_id, "ValueError", "kaput")
    assert 'raise ValueError("kaput") from error' in error.traceback
    assert "test_starting.py" in error.traceback
    assert isinstance(error.__cause__, ValueError)
    assert isinstance(error.__cause__.__cause__, KeyError)
    assert (await run.describe()).error == "ValueError: kaput"


@pytest.mark.feature("F30")
async def test_waiting_may_time_out_and_the_run_goes_on(client: Client, worker: WorkerFactory, queue: str) -> None:
    async with worker(workflows=[app]):
        run = await client.start(dawdles.with_options(queue=queue), 0.3)
        with pytest.raises(TimeoutError, match=r"still open after 0\.1 s; it goes on"):
            await run.result(timeout=0.1)
        assert await run.result(timeout=10) == "done"


class Crowd:
    """Counts who is inside."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0

    async def visit(self, seconds: float) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        await asyncio.sleep(seconds)
        self.inside -= 1


crowd = Crowd()


@app.step
async def visits() -> None:
    await crowd.visit(0.2)


@app.workflow
async def visit() -> None:
    await visits()


@pytest.mark.feature("F31")
@pytest.mark.alone
async def test_a_worker_runs_at_most_its_concurrency_of_steps_at_once(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """12 runs of 0.2 s, 5 at a time, take 3 rounds."""
    async with worker(workflows=[app], max_steps=5):
        begun = time.monotonic()
        runs = await client.start_many(visit.with_options(queue=queue), [()] * 12)
        await client.wait_many(runs, timeout=10)
        assert 0.6 <= time.monotonic() - begun <= 1.0 + 2 * LOOK_SECONDS
    assert crowd.most == 5
    assert crowd.inside == 0


@pytest.mark.feature("F23")
async def test_a_delayed_start_begins_no_earlier_and_says_why_it_waits(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run: RunHandle[str] = await client.start(dawdles.with_options(queue=queue, delay=0.3), 0)
        description = await run.describe()
        assert (description.status, description.reason) == ("pending", "its start is delayed")
        begun = time.monotonic()
        assert await run.result(timeout=10) == "done"
        assert time.monotonic() - begun > 0.2
