"""What a worker calls about its runs: everything once, in order, and whatever it raises."""

import asyncio
import logging
from typing import Any

import pytest

from holdfast import App, FatalError, Graph, Lifecycle, LifecycleEvent, RetryableError, RunFailed, StepFailed, Worker
from holdfast.client import Client
from tests.support.watching import until, until_status

from .conftest import WorkerFactory

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(40), pytest.mark.feature("F119")]

app = App("lifecycle", retries=1, backoff=0)
far = App("lifecycle", retries=1, backoff=0)
tries: dict[str, int] = {}


@app.step
async def pays(key: str) -> str:
    tries[key] = tries.get(key, 0) + 1
    if tries[key] == 1:
        raise RetryableError("the bank is closed", retry_after=0)
    return "paid"


@far.step(queue="far-lifecycle")
async def ships(key: str) -> str:
    tries[f"far {key}"] = tries.get(f"far {key}", 0) + 1
    if tries[f"far {key}"] == 1:
        raise RetryableError("no van", retry_after=0)
    return "sent"


@app.step
def breaks() -> None:
    raise FatalError("broken")


@app.workflow(id="order-{key}")
async def order(key: str) -> str:
    await asyncio.sleep(0)
    await pays(key)
    await ships(key)
    try:
        await breaks()
    except StepFailed:
        return "done"
    return "never"


class Recorder(Lifecycle):
    """Writes down what it is told, some of it as a coroutine."""

    def __init__(self) -> None:
        self.seen: list[LifecycleEvent] = []

    def run_started(self, event: LifecycleEvent) -> None:
        self.seen.append(event)

    async def step_started(self, event: LifecycleEvent) -> None:
        await asyncio.sleep(0)
        self.seen.append(event)

    step_succeeded = step_retried = step_failed = step_skipped = run_ended = run_started

    def of(self, run_id: str) -> list[tuple[Any, ...]]:
        return [
            (one.kind, one.step, one.attempt, one.error and one.error.message)
            for one in self.seen
            if one.run_id == run_id
        ]


class Raising(Lifecycle):
    def step_started(self, event: LifecycleEvent) -> None:
        raise RuntimeError(f"no {event.step}")


async def ended(recorder: Recorder, run_id: str) -> list[tuple[Any, ...]]:
    async def look() -> list[tuple[Any, ...]]:
        return recorder.of(run_id)

    return await until(look, lambda seen: bool(seen) and seen[-1][0] == "run_ended")


async def test_everything_is_told_once_in_order_with_run_step_attempt_and_error(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    recorder = Recorder()
    async with worker(workflows=[app], lifecycle=recorder), worker(workflows=[far], queue="far-lifecycle"):
        run = await client.start(order.with_options(queue=queue), queue)
        assert await run.result(timeout=20) == "done"
        seen = await ended(recorder, run.run_id)
    assert seen == [
        ("run_started", None, None, None),
        ("step_started", "pays", 1, None),
        ("step_retried", "pays", 1, "the bank is closed"),
        ("step_started", "pays", 2, None),
        ("step_succeeded", "pays", 2, None),
        ("step_started", "ships", 1, None),
        ("step_retried", "ships", 1, "no van"),
        ("step_started", "ships", 2, None),
        ("step_succeeded", "ships", 2, None),
        ("step_started", "breaks", 1, None),
        ("step_failed", "breaks", 1, "broken"),
        ("run_ended", None, None, None),
    ]
    last = recorder.seen[-1]
    assert (last.workflow, last.id, last.status) == ("order", f"order-{queue}", "completed")
    assert {(one.run_id, one.workflow, one.id) for one in recorder.seen} == {(run.run_id, "order", f"order-{queue}")}


async def test_what_a_graph_skips_and_how_a_run_failed_is_told(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    graph = Graph("lifecycle_graph")

    @graph.task
    async def bad() -> None:
        raise FatalError("bad")

    @graph.task(deps=[bad])
    async def after() -> None: ...

    recorder = Recorder()
    async with worker(workflows=[graph], lifecycle=[recorder]):
        run = await client.start(graph.with_options(queue=queue))
        with pytest.raises(RunFailed):
            await run.result(timeout=20)
        seen = await ended(recorder, run.run_id)
    assert [one[:3] for one in seen] == [
        ("run_started", None, None), ("step_started", "lifecycle_graph.bad", 1),
        ("step_failed", "lifecycle_graph.bad", 1), ("step_skipped", "lifecycle_graph.after", 0),
        ("run_ended", None, None),
    ]  # fmt: skip
    assert recorder.seen[-1].status == "failed"
    assert recorder.seen[-1].error is not None


async def test_code_that_raises_is_logged_and_nothing_else_comes_of_it(
    client: Client, worker: WorkerFactory, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder()
    caplog.set_level(logging.ERROR, "holdfast.worker")
    async with worker(workflows=[app], lifecycle=[Raising(), recorder]), worker(workflows=[far], queue="far-lifecycle"):
        run = await client.start(order.with_options(queue=queue), queue)
        assert await run.result(timeout=20) == "done"
        seen = await ended(recorder, run.run_id)
    assert len(seen) == 12
    assert any("lifecycle: step_started of Raising raised" in one for one in caplog.messages)


async def test_a_run_that_another_worker_goes_on_with_tells_only_what_is_new(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """What was committed before is replayed and not told again."""
    first, second = Recorder(), Recorder()
    async with worker(workflows=[app], lifecycle=first):
        run = await client.start(order.with_options(queue=queue), queue)

        await until_status(run, "suspended")
    async with worker(workflows=[app], lifecycle=second), worker(workflows=[far], queue="far-lifecycle"):
        assert await run.result(timeout=20) == "done"
        later = await ended(second, run.run_id)
    told = [*first.of(run.run_id), *later]
    assert len(first.of(run.run_id)) == 5, "it has begun, and paid with two attempts"
    assert [one[:3] for one in told][:5] == [
        ("run_started", None, None), ("step_started", "pays", 1), ("step_retried", "pays", 1),
        ("step_started", "pays", 2), ("step_succeeded", "pays", 2),
    ]  # fmt: skip
    assert len(told) == 12


async def test_what_is_no_lifecycle_is_refused(client: Client) -> None:
    with pytest.raises(TypeError, match=r"lifecycle is an object of a subclass of holdfast\.Lifecycle"):
        Worker(client, workflows=[app], lifecycle=[print])  # type: ignore[list-item]
