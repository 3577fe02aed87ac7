"""Hooks in workflow code: one payload for each, whenever the code looks."""

from datetime import timedelta
from typing import Any

import pytest

from holdfast.authoring.hooks import hook
from holdfast.ids import hook_of, hook_token
from holdfast.journal import Payload, Signal, SignalSetAside, StepCompleted, TimerCancelled, TimerSet
from holdfast.workflow.commands import CallStep
from tests.support.workflow_driver import CODEC, RUN_ID, START, Driver, instance_of

pytestmark = pytest.mark.feature("F95")


def delivered(data: bytes, number: int = 1, name: str = "payment") -> Signal:
    return Signal(f"hook {name} {number}", Payload(data))


def started(flow: Any) -> Driver:
    """A run whose code has made its hooks: the steps that draw their tokens have ended, and all others."""
    driver = Driver(flow).start()
    while steps := [number for kind, number in driver.due if kind == "step"]:
        call = driver.due["step", steps[0]]
        assert isinstance(call, CallStep)
        if call.definition.name == "hook payment":
            del driver.due["step", steps[0]]
            run_id, number = CODEC.decode_arguments(call.definition.signature, call.arguments, what="")[0]
            token = hook_token(run_id, number, bytes(range(16)))
            driver.observe(StepCompleted(START, steps[0], CODEC.encode(token, what="")))
        else:
            driver.complete(steps[0])
    return driver


def timers(driver: Driver) -> list[TimerSet]:
    return [entry for entry in driver.journal if isinstance(entry, TimerSet)]


async def pays() -> Any:
    payment = await hook("payment", int, timeout="1m")
    return [payment.token, await payment, await payment]


def test_what_is_delivered_is_what_the_hook_is_awaited_for_each_time() -> None:
    driver = started(pays)
    (timer,) = timers(driver)
    assert (timer.hook, timer.signal, timer.delay) == (1, "hook payment 1", timedelta(minutes=1))
    driver.post(delivered(b"5"))
    token, *received = driver.result
    assert received == [5, 5]
    assert hook_of(token) == (RUN_ID, 1)


def test_a_hook_that_is_not_awaited_yet_keeps_what_came() -> None:
    async def looks_later() -> Any:
        from holdfast import receive

        payment = await hook("payment", int, timeout="1m")
        await receive("go")
        return await payment

    driver = started(looks_later)
    driver.post(delivered(b"5"))
    assert any(isinstance(entry, TimerCancelled) for entry in driver.journal)
    driver.post(Signal("go", Payload(b"0")))
    assert driver.result == 5


def test_after_its_time_it_raises_whenever_it_is_awaited() -> None:
    async def is_late() -> str:
        payment = await hook("payment", int, timeout="1m")
        for _ in range(2):
            try:
                await payment
            except TimeoutError as error:
                said = str(error)
        return said

    driver = started(is_late)
    driver.fire(timers(driver)[0].number)
    assert driver.result == "nothing was delivered to the hook 'payment' in time"


def test_who_stops_waiting_leaves_it_open() -> None:
    async def waits_twice() -> Any:
        import asyncio

        payment = await hook("payment", int)
        try:
            async with asyncio.timeout(5):
                await payment
        except TimeoutError:
            return await payment

    driver = started(waits_twice)
    driver.fire(timers(driver)[-1].number)
    driver.post(delivered(b"5"))
    assert driver.result == 5


def test_what_the_code_refuses_is_set_aside_and_the_hook_is_open_again() -> None:
    driver = started(pays)
    driver.post(delivered(b'"much"'))
    first, again = timers(driver)
    assert (first.hook, first.hook_sha256) == (again.hook, again.hook_sha256)
    assert any(isinstance(entry, SignalSetAside) for entry in driver.journal)
    driver.post(delivered(b"5"))
    assert driver.result[1:] == [5, 5]


def test_each_hook_of_a_run_has_its_own_number_also_under_one_name() -> None:
    async def pays_twice() -> list[int]:
        first, second = await hook("payment", int), await hook("payment", int)
        return [await first, await second]

    driver = started(pays_twice)
    driver.post(delivered(b"2", 2))
    driver.post(delivered(b"1", 1))
    assert driver.result == [1, 2]


def test_a_replay_finds_the_token_that_was_given_out() -> None:
    driver = started(pays)
    driver.post(delivered(b"5"))
    instance = instance_of(pays)
    for entry in driver.journal:
        instance.feed(entry)
    assert instance.is_closed
    assert instance.take_commands() == []


def test_on_created_gets_the_token_when_the_hook_is_open() -> None:
    given: list[str] = []

    async def tells() -> Any:
        payment = await hook("payment", int, on_created=given.append)
        return [payment.token, await payment]

    driver = started(tells)
    kinds = [type(entry).__name__ for entry in driver.journal]
    assert kinds.index("TimerSet") < [place for place, kind in enumerate(kinds) if kind == "StepScheduled"][1]
    driver.post(delivered(b"5"))
    assert driver.result == [given[0], 5]
    assert len(given) == 1


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: hook(""), ValueError, "hook"),
        (lambda: hook("n" * 181), ValueError, "the name has 181 characters, the limit is 180"),
        (lambda: hook("n", on_created=3), TypeError, "on_created is a step or a function that takes the token, not 3"),
        (lambda: hook("n", timeout="soon"), ValueError, "soon"),
        (lambda: hook("n"), RuntimeError, "works inside a run only"),
    ],
)
async def test_a_bad_call_gets_a_sentence(call: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        await call()
