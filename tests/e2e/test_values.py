"""Values through arguments, results, signals and replays."""

import threading
from asyncio import TaskGroup
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from holdfast import App, ArgumentsRejected, RunFailed, constant, receive
from holdfast.client import Client
from tests.support.watching import kinds, until_status

from .conftest import WorkerFactory

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(30)]

app = App("values", backoff=constant(0))
calls: list[str] = []


@pytest.fixture(autouse=True)
def _no_calls_yet() -> None:
    calls.clear()


FALSY: list[Any] = [None, 0, 0.0, "", [], {}, False]


@app.step
async def gives_falsy(place: int) -> Any:
    calls.append(f"gives {place}")
    return FALSY[place]


@app.step
async def describes(value: Any) -> str:
    calls.append("describes")
    return f"{type(value).__name__} {value!r}"


@app.workflow
async def hands_on_falsy_results() -> list[str]:
    given = [await gives_falsy(place) for place in range(len(FALSY))]
    described = [await describes(value) for value in given]
    await receive("go")
    return described + [repr(value) for value in given]


@pytest.mark.feature("F42")
async def test_falsy_results_are_results_and_are_kept_by_the_next_worker(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """The second worker rebuilds the run from its journal and executes nothing."""
    async with worker(workflows=[app]):
        run = await client.start(hands_on_falsy_results.with_options(queue=queue))
        await until_status(run, "suspended")
    async with worker(workflows=[app]):
        await run.signal("go")
        result = await run.result(timeout=10)
    assert result[: len(FALSY)] == [f"{type(value).__name__} {value!r}" for value in FALSY]
    assert result[len(FALSY) :] == [repr(value) for value in FALSY]
    assert len(calls) == 2 * len(FALSY)


@app.step
async def gives_a_pair() -> tuple[int, int]:
    return (1, 2)


@app.step
async def gives_a_pair_of_unknown_type():  # type: ignore[no-untyped-def]
    return (1, 2)


@app.step
async def gives_a_mapping() -> Any:
    return {1: "a"}


@app.step
async def gives_a_typed_mapping() -> dict[int, str]:
    return {1: "a"}


@app.workflow
async def looks_at_types() -> tuple[str, str]:
    seen = repr(
        (
            await gives_a_pair(),
            await gives_a_pair_of_unknown_type(),
            await gives_a_mapping(),
            await gives_a_typed_mapping(),
        )
    )
    await receive("go")
    return seen, await describes(seen)


@pytest.mark.feature("F43")
async def test_a_replay_sees_the_same_values_as_the_first_run(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """What the annotation says, else JSON's own types, the first time already."""
    async with worker(workflows=[app]):
        run = await client.start(looks_at_types.with_options(queue=queue))
        await until_status(run, "suspended")
    async with worker(workflows=[app]):
        await run.signal("go")
        seen, described = await run.result(timeout=10)
    assert seen == "((1, 2), [1, 2], {'1': 'a'}, {1: 'a'})"
    assert described == f"str {seen!r}"


JSON_VALUE: dict[str, Any] = {
    "a": [1, 2, 3],
    "b": {"c": None, "d": "oe \u2713 \U0001f600 \u202e"},
    "floats": [0.1, -1e300, 5e-324],
    "big": 2**200,
    "quotes": "\"\\'\n\t{}%s",
}


@app.step
async def returns_it(value: Any) -> Any:
    return value


@app.workflow
async def passes_json_on(value: Any) -> Any:
    passed = await returns_it(value)
    signalled = await receive("value")
    return [passed, signalled]


@pytest.mark.feature("F54")
async def test_json_survives_arguments_results_signals_and_a_change_of_worker(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(passes_json_on.with_options(queue=queue), JSON_VALUE)
        await until_status(run, "suspended")
    async with worker(workflows=[app]):
        await run.signal("value", JSON_VALUE)
        assert await run.result(timeout=10) == [JSON_VALUE, JSON_VALUE]
    assert (await run.describe()).args == (JSON_VALUE,)


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True)
class Everything:
    at: datetime
    day: date
    span: timedelta
    price: Decimal
    colour: Colour
    raw: bytes
    tags: set[str]
    pair: tuple[int, str]
    key: UUID


@dataclass
class Seen:
    first: Everything
    again: Everything


EVERYTHING = Everything(
    at=datetime(2025, 6, 1, 12, 30, 15, 123456, tzinfo=timezone(timedelta(hours=2))),
    day=date(2024, 2, 29),
    span=timedelta(days=1, microseconds=1),
    price=Decimal("9.990"),
    colour=Colour.RED,
    raw=b"\x00\xff\n",
    tags={"x", "y"},
    pair=(1, "a"),
    key=UUID(int=7),
)


@app.step
async def returns_everything(value: Everything) -> Everything:
    assert value == EVERYTHING, value
    return value


@app.workflow
async def passes_everything_on(value: Everything) -> Seen:
    first = await returns_everything(value)
    again = await receive("everything", Everything)
    return Seen(first, await returns_everything(again))


@pytest.mark.feature("F55")
async def test_rich_values_keep_their_types_through_steps_signals_and_a_change_of_worker(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(passes_everything_on.with_options(queue=queue), EVERYTHING)
        await until_status(run, "suspended")
    async with worker(workflows=[app]):
        await run.signal("everything", EVERYTHING)
        seen = await run.result(timeout=10)
    assert seen == Seen(EVERYTHING, EVERYTHING)
    assert seen.first.at.utcoffset() == timedelta(hours=2)
    assert seen.first.price.as_tuple() == EVERYTHING.price.as_tuple()


class UserModel(BaseModel):
    id: int
    name: str
    since: datetime | None = None


@app.step
async def finds_a_user(id: int) -> UserModel:
    return UserModel(id=id, name="Bob", since=datetime(2025, 1, 1, tzinfo=UTC))


@app.step
async def finds_a_user_untyped(id: int):  # type: ignore[no-untyped-def]
    return UserModel(id=id, name="Bob")


@app.step
async def greets(user: UserModel) -> str:
    return f"{type(user).__name__} {user.name}"


@app.workflow
async def greets_users() -> list[str]:
    user, untyped = await finds_a_user(2), await finds_a_user_untyped(2)
    greetings = [await greets(user), await greets(untyped)]
    await receive("go")
    return [*greetings, type(user).__name__, type(untyped).__name__]


@pytest.mark.feature("F56")
async def test_models_are_rebuilt_from_annotations_and_are_dicts_without(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(greets_users.with_options(queue=queue))
        await until_status(run, "suspended")
    async with worker(workflows=[app]):
        await run.signal("go")
        assert await run.result(timeout=10) == ["UserModel Bob", "UserModel Bob", "UserModel", "dict"]


@app.step(retries=3)
async def returns_a_lock() -> Any:
    calls.append("lock")
    return threading.Lock()


@app.step(retries=3)
def returns_a_lock_from_a_thread() -> Any:
    calls.append("lock")
    return threading.Lock()


@app.workflow
async def wants_a_lock(*, plain: bool) -> Any:
    return await (returns_a_lock_from_a_thread if plain else returns_a_lock)()


@pytest.mark.feature("F57")
@pytest.mark.parametrize("plain", [False, True], ids=["async", "plain"])
async def test_a_result_that_cannot_be_stored_fails_its_step_after_one_execution(
    client: Client, worker: WorkerFactory, queue: str, plain: bool
) -> None:
    """The error names the step and the type, and no attempt is left running."""
    async with worker(workflows=[app]):
        run = await client.start(wants_a_lock.with_options(queue=queue), plain=plain)
        with pytest.raises(RunFailed, match=r"result of step returns_a_lock.* of type lock") as caught:
            await run.result(timeout=10)
    assert caught.value.error_type == "PayloadNotSerializable"
    assert calls == ["lock"]
    assert await kinds(run) == ["RunStarted", "StepScheduled", "StepFailed", "RunClosed"]


@app.workflow
async def returns_a_lock_itself() -> Any:
    return threading.Lock()


@pytest.mark.feature("F57")
async def test_a_workflow_result_that_cannot_be_stored_fails_the_run(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(returns_a_lock_itself.with_options(queue=queue))
        with pytest.raises(RunFailed, match="result of workflow returns_a_lock_itself of type lock"):
            await run.result(timeout=10)


@app.workflow
async def catches_a_lock() -> str:
    try:
        await describes(threading.Lock())
    except Exception as error:  # noqa: BLE001 - whatever it is, the test sees it
        return f"{type(error).__name__}: {error}"
    return "no error"


@pytest.mark.feature("F57")
async def test_an_argument_that_cannot_be_stored_is_refused_where_the_step_is_called(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """Nothing is recorded of the call."""
    async with worker(workflows=[app]):
        run = await client.start(catches_a_lock.with_options(queue=queue))
        assert (await run.result(timeout=10)).startswith("PayloadNotSerializable: argument 'value' of step describes")
    assert await kinds(run) == ["RunStarted", "RunClosed"]
    assert calls == []


fixed = {"step": False, "workflow": False}


@app.step(retries=3)
async def promises_a_number() -> int:
    calls.append("number")
    return 5 if fixed["step"] else None  # type: ignore[return-value]


@app.workflow
async def wants_a_number() -> int:
    return await promises_a_number()


@pytest.mark.feature("F154")
async def test_a_result_that_does_not_fit_fails_its_step_and_is_made_again_after_the_fix(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """It was recorded as completed, and no retry executed it again."""
    fixed["step"] = False
    async with worker(workflows=[app]):
        run = await client.start(wants_a_number.with_options(queue=queue))
        with pytest.raises(RunFailed, match=r"result of step promises_a_number .* does not fit") as caught:
            await run.result(timeout=10)
        assert caught.value.error_type == "PayloadNotSerializable"
        assert calls == ["number"]
        fixed["step"] = True
        assert await (await run.retry()).result(timeout=10) == 5
    assert calls == ["number", "number"]


@app.workflow
async def promises_a_number_itself() -> int:
    calls.append("workflow")
    await gives_falsy(1)
    return 5 if fixed["workflow"] else None  # type: ignore[return-value]


@pytest.mark.feature("F154")
async def test_a_workflow_result_that_does_not_fit_fails_the_run_and_is_made_again_after_the_fix(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """The run was completed, and nobody could read its result."""
    fixed["workflow"] = False
    async with worker(workflows=[app]):
        run = await client.start(promises_a_number_itself.with_options(queue=queue))
        with pytest.raises(RunFailed, match=r"result of workflow promises_a_number_itself .* does not fit"):
            await run.result(timeout=10)
        fixed["workflow"] = True
        assert await (await run.retry()).result(timeout=10) == 5
    assert calls.count("gives 1") == 1


@app.workflow
async def returns_deep_lists() -> Any:
    value: list[Any] = []
    for _ in range(210):
        value = [value]
    return value


@pytest.mark.feature("F154")
async def test_a_run_is_not_completed_with_a_result_that_nobody_can_read(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """210 nested lists."""
    async with worker(workflows=[app]):
        run = await client.start(returns_deep_lists.with_options(queue=queue))
        with pytest.raises(RunFailed, match="recursion limit"):
            await run.result(timeout=10)


@dataclass
class Cat:
    name: str


@dataclass
class Bird:
    name: str


@app.step
async def greets_an_animal(animal: Cat | Bird) -> str:
    return type(animal).__name__


@app.workflow
async def hands_on_a_bird() -> list[str]:
    try:
        return [await greets_an_animal(Bird("Tweety"))]
    except ArgumentsRejected as error:
        return [error.parameter, error.reason]


@pytest.mark.feature("F155")
async def test_an_argument_that_would_arrive_as_another_class_is_refused_at_the_call(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """The step got a Cat."""
    async with worker(workflows=[app]):
        run = await client.start(hands_on_a_bird.with_options(queue=queue))
        parameter, reason = await run.result(timeout=10)
    assert parameter == "animal"
    assert reason.startswith("would arrive changed: a Bird would come back as a Cat")
    assert await kinds(run) == ["RunStarted", "RunClosed"]


gone = {"path": "/nope/nothing"}


@app.step(retries=0)
async def reads_a_file(path: str) -> str:
    calls.append(path)
    if path == gone["path"]:
        return open(path).read()  # noqa: ASYNC230
    return path


@app.workflow
async def reads_files_at_once() -> list[str]:
    async with TaskGroup() as group:
        tasks = [group.create_task(reads_a_file(path)) for path in ("/nope/nothing", "there")]
    return [task.result() for task in tasks]


@pytest.mark.feature("F156")
async def test_the_single_error_of_a_task_group_reaches_the_client_whole_and_its_step_is_made_again(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """The client saw "unhandled errors in a TaskGroup", and a retry failed at once."""
    gone["path"] = "/nope/nothing"
    async with worker(workflows=[app]):
        run = await client.start(reads_files_at_once.with_options(queue=queue))
        with pytest.raises(RunFailed) as caught:
            await run.result(timeout=10)
        assert caught.value.error_type == "FileNotFoundError"
        assert "No such file" in caught.value.message
        group = caught.value.__cause__
        assert isinstance(group, ExceptionGroup)
        original = group.exceptions[0]
        assert isinstance(original, FileNotFoundError)
        assert (original.errno, original.filename) == (2, "/nope/nothing")
        gone["path"] = ""
        assert await (await run.retry()).result(timeout=10) == ["/nope/nothing", "there"]
