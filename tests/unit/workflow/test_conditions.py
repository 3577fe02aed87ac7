"""`wait_until`: a condition over the variables of a workflow, looked at again after all that makes its code go on."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

import holdfast
from holdfast.errors import UnguardedCall
from holdfast.journal import CancelRequested, Payload, Signal, TimerCancelled, TimerSet
from holdfast.statuses import RunStatus
from holdfast.workflow import conditions
from holdfast.workflow.loop import CodeDoesNotPause
from tests.support.workflow_driver import Driver, a_step, instance_of


@a_step
def add(x: int, y: int) -> int:
    return x + y


def signal(name: str, data: bytes = b"null") -> Signal:
    return Signal(name, Payload(data))


def test_a_condition_that_holds_waits_for_nothing() -> None:
    async def flow() -> str:
        await holdfast.wait_until(lambda: True, timeout="1h")
        return "went on"

    driver = Driver(flow).start()
    assert driver.result == "went on"
    assert not any(isinstance(entry, TimerSet) for entry in driver.journal)


def test_it_is_looked_at_after_a_step_a_signal_and_a_timer() -> None:
    async def flow() -> list[str]:
        seen: list[str] = []

        async def steps() -> None:
            seen.append(str(await add(1, 2)))

        async def signals() -> None:
            seen.append(await holdfast.receive("name", str))

        async def timers() -> None:
            await holdfast.sleep("1h")
            seen.append("slept")

        async with asyncio.TaskGroup() as group:
            for one in (steps, signals, timers):
                group.create_task(one())
            for count in (1, 2, 3):
                await holdfast.wait_until(lambda: len(seen) >= count)  # noqa: B023
                seen.append(f"saw {len(seen)}")
                del seen[-1]
        return seen

    for seed in range(20):
        driver = Driver(flow, seed=seed, mail=[signal("name", b'"Ada"')]).start()
        driver.run()
        assert sorted(driver.result) == ["3", "Ada", "slept"]


def test_what_makes_it_true_may_be_the_time_alone() -> None:
    async def flow() -> float:
        began = holdfast.now()
        await holdfast.wait_until(lambda: holdfast.now() - began >= timedelta(seconds=90))
        return (holdfast.now() - began).total_seconds()

    driver = Driver(flow).start()
    while driver.instance.waits() == [] and not driver.instance.is_closed:
        driver.at += timedelta(seconds=30)
        driver.post(signal("nobody asks for this"))
    assert driver.result >= 90


def test_a_condition_holds_when_the_wait_returns_though_others_wait_for_the_same() -> None:
    async def flow() -> list[int]:
        places = 0
        taken: list[int] = []

        async def take(who: int) -> None:
            nonlocal places
            await holdfast.wait_until(lambda: places > 0)
            places -= 1
            taken.append(who)

        async with asyncio.TaskGroup() as group:
            for who in range(3):
                group.create_task(take(who))
            for _ in range(3):
                await holdfast.receive("place")
                places += 1
                assert places == 1
        assert places == 0
        return taken

    driver = Driver(flow).start()
    for _ in range(3):
        driver.post(signal("place"))
    assert driver.result == [0, 1, 2]


def test_one_that_goes_on_makes_the_next_go_on_in_the_same_moment() -> None:
    async def flow() -> int:
        steps = 0

        async def stage(number: int) -> None:
            nonlocal steps
            await holdfast.wait_until(lambda: steps == number)
            steps += 1

        async with asyncio.TaskGroup() as group:
            # The last first: each round of looks finds the next one only.
            for number in reversed(range(1, 50)):
                group.create_task(stage(number))
            await holdfast.receive("go")
            steps = 1
        return steps

    driver = Driver(flow).start()
    driver.post(signal("go"))
    assert driver.result == 50


def test_a_time_out_says_which_condition_did_not_come_true() -> None:
    async def flow() -> str:
        try:
            await holdfast.wait_until(lambda: False, timeout="1h")
        except TimeoutError as error:
            return str(error)
        return ""

    driver = Driver(flow).start()
    [timer] = [entry for entry in driver.journal if isinstance(entry, TimerSet)]
    assert (timer.delay, timer.name) == (timedelta(hours=1), "wait_until")
    assert driver.instance.waits()[0] == "timer 1 (wait_until)"
    assert driver.instance.waits()[1].startswith("condition test_conditions.py line ")
    driver.fire(timer.number)
    assert driver.result.startswith("wait_until: the condition (test_conditions.py line ")


def test_what_comes_true_in_time_ends_the_limit() -> None:
    async def flow() -> str:
        seen: list[str] = []

        async def signals() -> None:
            seen.append(await holdfast.receive("name", str))

        task = asyncio.create_task(signals())
        await holdfast.wait_until(lambda: bool(seen), timeout="1h")
        await task
        return seen[0]

    driver = Driver(flow).start()
    driver.post(signal("name", b'"Ada"'))
    assert driver.result == "Ada"
    assert any(isinstance(entry, TimerCancelled) for entry in driver.journal)


def test_a_limit_of_nothing_looks_once() -> None:
    async def flow() -> str:
        with pytest.raises(TimeoutError):
            await holdfast.wait_until(lambda: False, timeout=0)
        return "late"

    assert Driver(flow).start().result == "late"


def test_what_the_predicate_raises_is_raised_where_it_is_waited_for() -> None:
    async def flow() -> str:
        amounts: dict[str, int] = {"a": 1}

        async def signals() -> None:
            await holdfast.receive("go")
            del amounts["a"]

        task = asyncio.create_task(signals())
        try:
            await holdfast.wait_until(lambda: amounts["a"] > 1)
        except KeyError as error:
            await task
            return f"no {error}"
        return ""

    driver = Driver(flow).start()
    driver.post(signal("go"))
    assert driver.result == "no 'a'"


def test_an_error_of_the_predicate_fails_the_run_with_its_type() -> None:
    async def flow() -> None:
        await holdfast.wait_until(lambda: 1 // 0)  # type: ignore[arg-type, return-value]

    driver = Driver(flow).start()
    assert driver.closed.failure is not None
    assert driver.closed.failure.error_type == "ZeroDivisionError"


async def answers() -> bool:
    return True


def makes_a_task() -> bool:
    return not asyncio.create_task(asyncio.sleep(0)).done()


def wakes_a_task() -> bool:
    waiter = asyncio.get_running_loop().create_future()
    waiter.add_done_callback(print)
    waiter.set_result(None)
    return True


def sets_a_timer() -> bool:
    asyncio.get_running_loop().call_later(5, print)
    return True


SIDE_EFFECTS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "async": (answers, TypeError, "answers is async; it is a plain function"),
    "coroutine": (lambda: answers(), TypeError, "returned a coroutine and no answer"),
    "sleep": (lambda: holdfast.sleep(1), TypeError, "returned a coroutine and no answer"),
    "receive": (lambda: holdfast.receive("a"), TypeError, "returned a coroutine and no answer"),
    "step": (lambda: add(1, 2), UnguardedCall, "step add in the predicate of wait_until"),
    "random": (lambda: holdfast.random().random() < 2, UnguardedCall, "a random number in the predicate"),
    "uuid4": (lambda: holdfast.uuid4(), UnguardedCall, "a random number in the predicate"),
    "task": (makes_a_task, UnguardedCall, "a task in the predicate"),
    "callback": (wakes_a_task, UnguardedCall, "what wakes another task in the predicate"),
    "timer": (sets_a_timer, UnguardedCall, "a timer in the predicate"),
    "span": (lambda: holdfast.span("x").__enter__(), UnguardedCall, "span x in the predicate"),
    "no function": (True, TypeError, "is a function without parameters, not True"),  # type: ignore[dict-item]
    "parameters": (lambda x: x, TypeError, "missing 1 required positional argument"),  # type: ignore[misc]
}


@pytest.mark.parametrize("case", SIDE_EFFECTS)
def test_a_predicate_that_does_something_is_refused_with_a_sentence(case: str) -> None:
    predicate, kind, words = SIDE_EFFECTS[case]

    async def flow() -> str:
        with pytest.raises(kind) as caught:
            await holdfast.wait_until(predicate)
        # The run goes on as ever.
        return f"{caught.value} {await add(1, 2)}"

    driver = Driver(flow).start()
    driver.run()
    assert words in driver.result
    assert driver.result.endswith(" 3")


def test_a_condition_that_nothing_can_make_true_is_no_wait() -> None:
    async def flow() -> None:
        await holdfast.wait_until(lambda: False)

    assert Driver(flow).start().instance.waits() == []


def test_two_that_make_each_other_true_for_ever_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditions, "CALLBACKS_MAX", 1_000)

    async def flow() -> None:
        turn = 0

        async def player(mine: int) -> None:
            nonlocal turn
            while True:
                await holdfast.wait_until(lambda: turn == mine)  # noqa: B023
                turn = 1 - mine

        await asyncio.gather(player(0), player(1))

    with pytest.raises(CodeDoesNotPause, match="looked at conditions 1,000 times"):
        Driver(flow).start()


def test_a_cancelled_wait_is_looked_at_no_more() -> None:
    async def flow() -> list[str]:
        looks: list[str] = []

        def look() -> bool:
            looks.append("look")
            return False

        task = asyncio.create_task(holdfast.wait_until(look))
        await holdfast.receive("go")
        task.cancel()
        await asyncio.wait([task])
        looks.append("cancelled")
        await holdfast.receive("go")
        return looks

    driver = Driver(flow).start()
    driver.post(signal("go"))
    driver.post(signal("go"))
    assert driver.result[-1] == "cancelled"
    assert "look" in driver.result


def test_a_cancelled_run_leaves_its_wait() -> None:
    async def flow() -> None:
        await holdfast.wait_until(lambda: False, timeout="1h")

    driver = Driver(flow).start()
    driver.post(CancelRequested())
    assert driver.closed.status is RunStatus.CANCELLED


def test_a_replay_goes_the_same_way() -> None:
    async def flow() -> list[str]:
        seen: list[str] = []

        async def collect(name: str) -> None:
            while True:
                seen.append(f"{name}{await holdfast.receive(name, int)}")

        tasks = [asyncio.create_task(collect(name)) for name in "ab"]
        await holdfast.wait_until(lambda: len(seen) >= 3)
        seen.append(f"{await add(len(seen), 1)}")
        await holdfast.wait_until(lambda: len(seen) >= 6)
        for task in tasks:
            task.cancel()
        return seen

    mail = [signal(name, b"%d" % number) for number in range(3) for name in "ab"]
    for seed in range(10):
        driver = Driver(flow, seed=seed, mail=mail).start()
        driver.run()
        again = instance_of(flow)
        for entry in driver.journal:
            again.feed(entry)
        assert again.take_commands() == []
        assert again.is_closed


def test_outside_a_run_it_says_where_it_works() -> None:
    with pytest.raises(RuntimeError, match=r"wait_until\(\) works inside a run only"):
        asyncio.run(holdfast.wait_until(lambda: True))
