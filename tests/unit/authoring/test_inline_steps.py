"""`holdfast.inline`: any callable as a step of one call (F107)."""

import asyncio
import functools
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

import holdfast
from holdfast import App, Context, NotAwaited, StepFailed
from holdfast.journal import AttemptEnded, Payload, StepCompleted, StepScheduled
from holdfast.statuses import Placement
from holdfast.testing import run_local

pytestmark = pytest.mark.feature("F107")

app = App("inline")


@dataclass
class Rate:
    currency: str
    value: Decimal


async def read_rate(currency: str, *, factor: int = 1) -> Rate:
    await asyncio.sleep(0)
    return Rate(currency, Decimal("1.5") * factor)


def thread_name() -> str:
    return threading.current_thread().name


@app.workflow
async def reads() -> list[str]:
    rate = await holdfast.inline("read rate", read_rate, "EUR", factor=2)
    return [str(rate.value), await holdfast.inline("thread", thread_name)]


async def test_it_is_a_step_with_a_name_and_its_result_is_read_as_annotated() -> None:
    run = await run_local(reads)
    value, thread = run.value()
    assert value == "3.0"
    assert thread != threading.current_thread().name
    scheduled = [entry for entry in run.history if isinstance(entry, StepScheduled)]
    assert [(step.name, step.placement) for step in scheduled] == [
        ("read rate", Placement.INLINE),
        ("thread", Placement.INLINE),
    ]
    assert scheduled[0].arguments.named["factor"] == Payload(b"2")
    assert sum(isinstance(entry, StepCompleted) for entry in run.history) == 2


async def test_it_is_retried_and_fails_as_a_step_does() -> None:
    attempts: list[int] = []

    def flaky() -> int:
        attempts.append(1)
        raise ValueError("kaput")

    @App("one flow").workflow
    async def flow() -> str:
        try:
            await holdfast.inline("flaky", flaky)
        except StepFailed as failed:
            return f"{failed.step} {failed.attempts} {failed.error_type}"
        return ""

    run = await run_local(flow)
    assert run.value() == "flaky 4 ValueError"
    assert len(attempts) == 4
    assert sum(isinstance(entry, AttemptEnded) for entry in run.history) == 3


class Shop:
    def __init__(self, city: str) -> None:
        self.city = city

    def greet(self, name: str) -> str:
        return f"{name} in {self.city}"

    def __call__(self, name: str) -> tuple[str, ...]:
        return (name, self.city)


ANY_CALLABLE: dict[str, tuple[Any, tuple[Any, ...], Any]] = {
    "lambda": (lambda x: x + 1, (1,), 2),
    "bound method": (Shop("Oslo").greet, ("Ada",), "Ada in Oslo"),
    "callable object": (Shop("Oslo"), ("Ada",), ["Ada", "Oslo"]),
    "partial": (functools.partial(read_rate, factor=4), ("EUR",), Rate("EUR", Decimal("6.0"))),
    "class": (Decimal, ("1.5",), "1.5"),
    "function of C": (math.gcd, (12, 18), 6),
    "without a signature": (dict.fromkeys, (["a"], 1), {"a": 1}),
    "step": (app.step("a step")(read_rate), ("EUR",), Rate("EUR", Decimal("1.5"))),
}


@pytest.mark.parametrize("kind", ANY_CALLABLE)
async def test_it_takes_any_callable(kind: str) -> None:
    function, args, expected = ANY_CALLABLE[kind]
    seen: list[Any] = []

    @App("one flow").workflow
    async def flow() -> None:
        seen.append(await holdfast.inline(kind, function, *args))

    (await run_local(flow)).value()
    assert seen == [expected]


async def test_it_gets_the_context_that_it_asks_for() -> None:
    def whose(ctx: Context[str], word: str) -> str:
        return f"{ctx.step} {ctx.deps} {word}"

    @App("one flow").workflow
    async def flow() -> str:
        return await holdfast.inline("ask", whose, "x")  # type: ignore[call-arg, arg-type]

    assert (await run_local(flow, deps="the deps")).value() == "ask the deps x"


async def test_not_awaited_it_says_so() -> None:
    @App("one flow").workflow
    async def flow() -> None:
        holdfast.inline("read", thread_name)  # type: ignore[unused-coroutine]

    run = await run_local(flow)
    assert run.failure is not None
    assert run.failure.error_type == NotAwaited.__name__
    assert run.failure.message.startswith("read, test_inline_steps.py line ")


async def test_arguments_that_do_not_fit_are_refused_before_anything_runs() -> None:
    @App("one flow").workflow
    async def flow() -> str:
        with pytest.raises(holdfast.ArgumentsRejected, match="step read rate"):
            await holdfast.inline("read rate", read_rate)  # type: ignore[call-arg]
        return "refused"

    run = await run_local(flow)
    assert run.value() == "refused"
    assert not any(isinstance(entry, StepScheduled) for entry in run.history)


async def test_outside_a_run_it_calls_the_function() -> None:
    assert await holdfast.inline("read", read_rate, "EUR") == Rate("EUR", Decimal("1.5"))
    assert await holdfast.inline("thread", thread_name) != threading.current_thread().name


def _generator() -> Iterator[int]:
    yield 1


async def _coroutine() -> None: ...


MISUSE: list[tuple[Any, Any, type[Exception], str]] = [
    ("", thread_name, ValueError, "name"),
    (5, thread_name, TypeError, "name"),
    ("x", 5, TypeError, "inline 'x' takes a function and its arguments, not 5"),
    ("x", _generator, TypeError, "_generator: it is a generator, and a step has one result"),
]


@pytest.mark.parametrize(("name", "function", "kind", "words"), MISUSE)
def test_what_cannot_be_a_step_is_refused_at_the_call(
    name: Any, function: Any, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        holdfast.inline(name, function)


def test_a_call_in_place_of_the_function_is_explained() -> None:
    with pytest.raises(TypeError, match=r"takes the function and its arguments, not the call: inline\('x', function"):
        holdfast.inline("x", _coroutine())  # type: ignore[call-overload]
