"""Looking at runs: status, current step, listings, histories."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from holdfast import App, InvalidRequest, RunFailed, RunNotFound, constant, receive, sleep
from holdfast.client import Client
from holdfast.journal import RunClosed, RunStarted, StepCompleted, StepScheduled
from tests.support.watching import until, until_status

from .conftest import WorkerFactory

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(30)]

app = App("queries", backoff=constant(0))


class Gate:
    """Lets a step go on when the test says so."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()


gate = Gate()


@app.step
async def first_step() -> str:
    await gate.first.wait()
    return "first"


@app.step
async def second_step() -> str:
    await gate.second.wait()
    return "second"


@app.workflow
async def two_steps(name: str, *, size: int = 1) -> list[str]:
    return [await first_step(), await second_step(), name * size]


@pytest.mark.feature("F113")
async def test_a_description_follows_a_run_from_step_to_step_to_its_result(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """Current step is the first, then the second, then None; times are aware UTC."""
    gate.first, gate.second = asyncio.Event(), asyncio.Event()
    begun = datetime.now(UTC) - timedelta(seconds=1)
    run = await client.start(two_steps.with_options(id=f"two-{queue}", queue=queue), "x", size=2)
    waiting = await run.describe()
    assert (waiting.status, waiting.current_step) == ("pending", None)
    async with worker(workflows=[app]):
        one = await until(run.describe, lambda seen: seen.current_step == "first_step")
        assert (one.status, one.result, one.error, one.closed_at) == ("running", None, None, None)
        gate.first.set()
        await until(run.describe, lambda seen: seen.current_step == "second_step")
        gate.second.set()
        assert await run.result(timeout=10) == ["first", "second", "xx"]
    done = await run.describe()
    assert (done.run_id, done.id, done.workflow, done.queue) == (run.run_id, f"two-{queue}", "two_steps", queue)
    assert (done.status, done.current_step, done.error, done.reason) == ("completed", None, None, None)
    assert (done.args, dict(done.kwargs), done.result) == (("x",), {"size": 2}, ["first", "second", "xx"])
    assert done.closed_at is not None
    assert begun < done.created_at < done.closed_at == done.updated_at < datetime.now(UTC) + timedelta(seconds=1)
    assert done.created_at.isoformat().endswith("+00:00")


@app.workflow
async def fails() -> None:
    raise ValueError("kaput")


@pytest.mark.feature("F113")
async def test_the_description_of_a_failed_run_has_its_error(client: Client, worker: WorkerFactory, queue: str) -> None:
    async with worker(workflows=[app]):
        run = await client.start(fails.with_options(queue=queue))
        with pytest.raises(RunFailed):
            await run.result(timeout=10)
    description = await run.describe()
    assert (description.status, description.error, description.result) == ("failed", "ValueError: kaput", None)


@pytest.mark.feature("F113")
@pytest.mark.parametrize("run", ["run_0001m7wa3e5vkgn9p7yhpsw3es4t", "unknown-id", "%", "ü" * 300, "x" * 5_000])
async def test_an_unknown_id_is_not_found_whoever_asks(client: Client, run: str) -> None:
    """Also when it could not be the id of any run."""
    handle = client.get(run)
    for ask in (handle.status, handle.describe, handle.history, handle.result, handle.cancel, handle.terminate):
        with pytest.raises(RunNotFound) as caught:
            await ask()
        assert caught.value.namespace == "default"


@app.workflow
async def quick(number: int) -> int:
    return number


@pytest.mark.feature("F114")
async def test_a_listing_has_pages_without_doubles_while_new_runs_start(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """Newest first, 10 + 10 + 5, whatever starts meanwhile."""
    async with worker(workflows=[app]):
        start = quick.with_options(queue=queue, metadata={"test": queue})
        runs = [await client.start(start, number) for number in range(25)]
        await client.wait_many(runs, timeout=10)
        seen: list[str] = []
        sizes: list[int] = []
        cursor: str | None = None
        while True:
            page = await client.list(metadata={"test": queue}, limit=10, cursor=cursor)
            seen += [run.run_id for run in page]
            sizes.append(len(page))
            cursor = page.next_cursor
            if cursor is None:
                break
            await client.start_many(start, [100, 101])
    assert sizes == [10, 10, 5]
    assert seen == [run.run_id for run in reversed(runs)]


@pytest.mark.feature("F114")
async def test_a_listing_is_filtered_by_name_status_time_and_text(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        early = await client.start(quick.with_options(queue=queue), 1)
        await early.result(timeout=10)
        between = (await early.describe()).created_at + timedelta(microseconds=1)
        late = await client.start(quick.with_options(id=f"Late-{queue}%_x", queue=queue), 2)
        failed = await client.start(fails.with_options(queue=queue))
        waits = await client.start(sleeps.with_options(queue=queue))
        await late.result(timeout=10)
        with pytest.raises(RunFailed):
            await failed.result(timeout=10)
        await until_status(waits, "suspended")

        async def found(**filters: object) -> set[str]:
            page = await client.list(started_after=between, **filters)  # type: ignore[arg-type]
            return {run.run_id for run in page}

        assert await found() == {late.run_id, failed.run_id, waits.run_id}
        assert await found(workflow=quick) == await found(workflow="quick") == {late.run_id}
        assert await found(status="failed") == {failed.run_id}
        assert await found(status=["suspended", "completed"]) == {waits.run_id, late.run_id}
        assert await found(status="pending") == set()
        assert await found(text=f"Late-{queue}%_") == {late.run_id}
        assert await found(text="%") == {late.run_id}
        assert await found(text="leep") == {waits.run_id}
        assert await found(text=waits.run_id) == {waits.run_id}
        assert await found(text="\\") == set()
        assert early.run_id in {run.run_id for run in await client.list(started_before=between, limit=1_000)}
        assert not await found(started_before=between)
        await waits.terminate()


@app.workflow
async def sleeps() -> None:
    await sleep("1h")


@pytest.mark.feature("F114")
@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 1_001}, "limit"),
        ({"status": "done"}, "status"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": "MjAyNS0wMS0wMSB4"}, "cursor"),
    ],
)
async def test_a_malformed_listing_is_refused_by_its_field(
    client: Client, options: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await client.list(**options)  # type: ignore[arg-type]
    assert caught.value.field == field


@pytest.mark.feature("F113", "F114")
@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b"])
async def test_what_is_no_text_is_refused_by_its_field(client: Client, text: str) -> None:
    with pytest.raises(InvalidRequest, match="which is no text") as caught:
        client.get(text)
    assert caught.value.field == "run"
    for field in ("text", "workflow", "idempotency_key", "cursor"):
        with pytest.raises(InvalidRequest, match="which is no text") as caught:
            await client.list(**{field: text})  # type: ignore[arg-type]
        assert caught.value.field == field
    with pytest.raises(InvalidRequest, match="which is no text"):
        await client.list(metadata={"key": text})


@pytest.mark.feature("F114")
async def test_a_very_long_text_finds_nothing(client: Client) -> None:
    long = "x" * 10_000
    assert not (await client.list(text=long, workflow=long, idempotency_key=long, metadata={"key": long})).runs


@app.step
async def one() -> int:
    return 1


@app.workflow
async def one_step() -> int:
    return await one()


@pytest.mark.feature("F117")
async def test_the_history_of_a_one_step_run_is_typed_dense_and_in_order(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(one_step.with_options(queue=queue))
        assert await run.result(timeout=10) == 1
    history = await run.history()
    assert [entry.type for entry in history] == ["RunStarted", "StepScheduled", "StepCompleted", "RunClosed"]
    assert [type(entry.entry) for entry in history] == [RunStarted, StepScheduled, StepCompleted, RunClosed]
    assert [entry.number for entry in history] == [1, 2, 3, 4]
    assert [entry.epoch for entry in history] == [0, 1, 1, 1]
    times = [entry.at for entry in history]
    assert times == sorted(times)
    assert (await run.describe()).status == "completed"


@app.workflow
async def many_steps(count: int) -> int:
    total = 0
    for _ in range(count):
        total += await one()
    await receive("go")
    return total


@pytest.mark.feature("F117")
async def test_a_long_history_is_read_whole_while_the_run_is_open(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """Dense from 1 over all pages."""
    async with worker(workflows=[app]):
        run = await client.start(many_steps.with_options(queue=queue), 500)
        await until_status(run, "suspended")
        history = await run.history()
        assert [entry.number for entry in history] == list(range(1, 1_002))
        await run.signal("go")
        assert await run.result(timeout=10) == 500
    assert [entry.number for entry in await run.history()] == list(range(1, 1_004))
