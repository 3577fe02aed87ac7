"""A step or workflow is async when calling it says so, and not when something that it wraps does."""

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from holdfast import App, RunFailed
from holdfast.testing import run_local

app = App("wrapped")


def passing_on(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator for functions of both kinds, as many are written."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def run_to_its_end(function: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(function(*args, **kwargs))

    return wrapper


def made_async(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


async def plus_one(x: int) -> int:
    await asyncio.sleep(0)
    return x + 1


def minus_one(x: int) -> int:
    return x - 1


def later(x: int) -> Awaitable[int]:
    return plus_one(x)


def partial_of(function: Callable[..., Any]) -> Callable[..., Any]:
    return functools.partial(function, 1)


FUNCTIONS: dict[str, tuple[Callable[..., Any], bool, int]] = {
    "a def that passes an async function on": (passing_on(plus_one), False, 2),
    "a def that runs an async function to its end": (run_to_its_end(plus_one), False, 2),
    "an async def around a def": (made_async(minus_one), True, 0),
    "an async def around an async def": (made_async(passing_on(minus_one)), True, 0),
    "a def around an async def around a def": (passing_on(made_async(minus_one)), False, 0),
    "a def around a def": (passing_on(minus_one), False, 0),
    "a def that returns an awaitable": (later, False, 2),
}


@app.workflow
async def calls(name: str) -> int:
    return await STEPS[name](1)  # type: ignore[no-any-return]


STEPS: dict[str, Any] = {name: app.step(name=name)(function) for name, (function, _, _) in FUNCTIONS.items()}


@pytest.mark.parametrize("name", FUNCTIONS)
async def test_a_step_is_what_its_call_is_whatever_it_wraps(name: str) -> None:
    _, is_async, expected = FUNCTIONS[name]
    assert app.steps[name].is_async == is_async
    assert (await run_local(calls, name)).value() == expected


@pytest.mark.filterwarnings("ignore:workflow calls runs as plain code")
@pytest.mark.parametrize("name", FUNCTIONS)
async def test_it_is_the_same_in_workflow_code_that_runs_as_plain_code(name: str) -> None:
    assert await calls(name) == FUNCTIONS[name][2]


loops: list[Any] = []


async def seen() -> int:
    loops.append((threading.current_thread(), asyncio.get_running_loop()))
    return 1


passed_on = app.step(passing_on(seen))


@app.workflow
async def sees() -> int:
    return await passed_on()  # type: ignore[no-any-return]


async def test_what_a_def_returns_to_be_awaited_is_awaited_on_the_loop_of_the_worker() -> None:
    assert (await run_local(sees)).value() == 1
    assert loops == [(threading.current_thread(), asyncio.get_running_loop())]


def test_a_workflow_may_be_a_def_that_passes_an_async_function_on_or_says_that_it_returns_an_awaitable() -> None:
    assert asyncio.run(run_local(app.workflow("passed on")(passing_on(plus_one)), 1)).value() == 2
    assert asyncio.run(run_local(app.workflow("later")(later), 1)).value() == 2  # type: ignore[arg-type]


def test_a_workflow_that_returns_nothing_to_await_fails_with_a_sentence() -> None:
    with pytest.raises(RunFailed, match="wrapped without a loop returned int, and nothing to await"):
        asyncio.run(run_local(app.workflow("wrapped without a loop")(_said_to_be_async(plus_one)), 1)).value()


def _said_to_be_async(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(x: int) -> int:
        return x

    return wrapper
