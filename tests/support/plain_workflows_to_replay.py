"""Plain `def` workflows for the tests of replay: what waits is called without `await`. Each takes no argument."""

import asyncio
from collections.abc import Iterator
from typing import Any

import holdfast
from holdfast.errors import StepFailed
from holdfast.workflow.styles import in_style
from tests.support.workflow_driver import a_step


@a_step
def _double(x: int) -> int:
    return 2 * x


@a_step
def _explode(x: int) -> int:
    raise ValueError(f"no {x}")


def double(x: int) -> Any:
    return in_style(_double(x))


def explode(x: int) -> Any:
    return in_style(_explode(x))


def plain_sequence() -> list[int]:
    def below(x: int) -> Iterator[int]:
        yield double(x)
        yield double(x + 1)

    return [double(x) for first in below(3) for x in (first, *below(first))]


def plain_branches_side_by_side() -> list[Any]:
    def branch(x: int) -> int:
        with holdfast.span(f"branch {x}"):
            first = double(x)
            holdfast.sleep(x + 0.5)
            holdfast.note("slept", branch=x)
            return double(first) + holdfast.random().randrange(1)

    found: list[Any] = [*holdfast.parallel(*(lambda x=x: branch(x) for x in range(3)), _double(9))]  # type: ignore[misc]
    try:
        holdfast.parallel(lambda: branch(4), lambda: explode(5), _double(6))
    except StepFailed as failed:
        found.append(double(failed.number))
    return found


def plain_limits_and_clean_up() -> list[Any]:
    found: list[Any] = []
    with holdfast.Saga() as saga:
        saga.add(double, 1)
        try:
            with holdfast.timeout(3):
                for x in range(9):
                    holdfast.sleep(1)
                    found.append(double(x))
        except TimeoutError:
            found.append("late")
        try:
            with holdfast.Saga() as inner:
                inner.add(lambda: found.append(double(double(7))))
                inner.add(_double, 8)
                explode(1)
        except StepFailed:
            found.append(holdfast.shield(_double(2)))
    return found


def plain_handlers() -> list[Any]:
    items: list[Any] = []

    @holdfast.on_signal("go")
    def go(x: int) -> None:
        items.append(double(x))

    @holdfast.on_signal("more")
    async def more(x: int) -> None:
        items.append(await asyncio.create_task(_double(x)))

    holdfast.wait_until(lambda: len(items) >= 3)
    return items


ALL = [plain_sequence, plain_branches_side_by_side, plain_limits_and_clean_up, plain_handlers]
