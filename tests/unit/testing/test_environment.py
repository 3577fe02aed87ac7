"""A test decides what time it is, what steps do, what arrives, and when the worker crashes."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from unittest.mock import AsyncMock, Mock

import pytest

import holdfast
from holdfast import App, Context, FatalError, HoldfastError, NonDeterminism, RunConflict, RunFailed, RunStatus
from holdfast.replay.replaying import ReplayMismatch
from holdfast.replay.stored import StoredRun
from holdfast.testing import (
    Environment,
    NoSuchStep,
    RunNotFinished,
    assert_completed,
    assert_failed,
    assert_replays,
    assert_step_called,
    assert_step_not_called,
    assert_waits_for,
    run_local,
)

app = App("environment")
ran: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


@app.step
async def extract() -> list[int]:
    ran.append("extract")
    return [1, 2]


@app.step
def total(numbers: list[int]) -> int:
    ran.append("total")
    return sum(numbers)


@app.workflow
async def etl() -> int:
    return await total(await extract())


@app.workflow
async def nightly() -> str:
    await holdfast.sleep("1d")
    return "done"


@pytest.mark.feature("F127")
async def test_the_clock_stands_until_the_test_moves_it_and_stops_where_it_is_told_to() -> None:
    async with Environment() as env:
        run = await env.start(nightly)
        assert run.status is RunStatus.SUSPENDED
        begun = env.now()
        await env.time_skip("1439m")
        assert env.now() == begun + timedelta(hours=23, minutes=59)
        assert_waits_for(run, "timer 1")
        await env.time_skip("1m")
        assert_completed(run, "done")
        assert env.now() == begun + timedelta(days=1)


@pytest.mark.feature("F127")
async def test_the_clock_is_moved_to_an_instant_too_and_never_back() -> None:
    async with Environment() as env:
        run = await env.start(nightly)
        await env.time_skip(env.now() + timedelta(days=1))
        assert_completed(run)
        with pytest.raises(ValueError, match="is past"):
            await env.time_skip(datetime(2020, 1, 1, tzinfo=UTC))


@app.workflow
async def twice_a_day() -> list[str]:
    seen = []
    for _ in range(3):
        await holdfast.sleep("12h")
        seen.append(await total([1]))
    return [str(one) for one in seen]


async def test_a_skip_over_several_waits_runs_what_is_between_them() -> None:
    async with Environment() as env:
        run = await env.start(twice_a_day)
        await env.time_skip("25h")
        assert ran == ["total", "total"]
        assert run.status is RunStatus.SUSPENDED
        assert await run.result() == ["1", "1", "1"]


@pytest.mark.feature("F128")
async def test_a_step_is_replaced_by_a_value_and_not_executed() -> None:
    async with Environment() as env:
        env.override(extract=[10, 20])
        run = await env.start(etl)
        assert_completed(run, 30)
        assert ran == ["total"]
        assert_step_called(run, total, [10, 20])


@app.step
def charge(ctx: Context[None], order: str, amount: Decimal) -> str:
    raise AssertionError("the test replaces it")


@app.workflow
async def buy(order: str, amount: Decimal) -> str:
    return await charge(order, amount)


def _plain(order: str, amount: Decimal) -> str:
    assert isinstance(amount, Decimal)
    return f"{order} {amount}"


async def _async(order: str, amount: Decimal) -> str:
    return _plain(order, amount)


def _with_context(order: str, amount: Decimal, context: Context[None]) -> str:
    assert context.step == "charge"
    return _plain(order, amount)


@pytest.mark.feature("F128")
@pytest.mark.parametrize("fake", [_plain, _async, _with_context, lambda order, amount: _plain(order, amount)])
async def test_a_step_is_replaced_by_a_function_that_gets_its_typed_arguments(fake: Callable[..., object]) -> None:
    async with Environment() as env:
        env.override({charge: fake})
        assert_completed(await env.start(buy, "o-1", Decimal("9.99")), "o-1 9.99")


@pytest.mark.parametrize("kind", [Mock, AsyncMock])
async def test_mocks_see_how_a_step_is_called(kind: type[Mock]) -> None:
    fake = kind(return_value="receipt")
    async with Environment() as env:
        env.override(charge=fake)
        assert_completed(await env.start(buy, "o-1", Decimal("9.99")), "receipt")
    fake.assert_called_once_with("o-1", Decimal("9.99"))


async def test_a_step_is_replaced_by_an_error() -> None:
    async with Environment() as env:
        env.override(charge=FatalError("no money"))
        run = await env.start(buy, "o-1", Decimal(1))
        assert_failed(run, FatalError, match="no money")
        with pytest.raises(RunFailed, match="no money"):
            run.value()


@pytest.mark.feature("F128")
async def test_an_unknown_name_is_refused_with_the_nearest_one_and_nothing_is_replaced() -> None:
    async with Environment() as env:
        with pytest.raises(NoSuchStep, match=r"no step is called 'extrct'.*Did you mean 'extract'"):
            env.override(total=5, extrct=[1])
        with pytest.raises(TypeError, match="takes steps and their names"):
            env.override({5: 1})
        assert_completed(await env.start(etl), 3)


@app.step(retries=2, backoff="1h")
async def flaky(fails: int, ctx: Context[None]) -> int:
    ran.append(f"attempt {ctx.attempt}")
    if ctx.attempt <= fails:
        raise ValueError("not yet")
    return ctx.attempt


@app.workflow
async def patient(fails: int) -> int:
    await extract()
    return await flaky(fails)


async def test_retries_wait_for_the_test() -> None:
    async with Environment() as env:
        run = await env.start(patient, 1)
        assert ran == ["extract", "attempt 1"]
        assert run.status is RunStatus.SUSPENDED
        await env.time_skip("1h")
        assert_completed(run, 2)


@pytest.mark.parametrize("at", [total, "total", 2])
async def test_after_a_crash_the_step_that_it_met_runs_again_and_no_other(at: object) -> None:
    async with Environment() as env:
        env.crash_at(at)  # type: ignore[arg-type]
        run = await env.start(etl)
        assert_completed(run, 3)
        assert ran == ["extract", "total", "total"]
        assert [type(entry).__name__ for entry in run.history] == [
            *("RunStarted", "StepScheduled", "StepCompleted"),
            *("StepScheduled", "AttemptEnded", "AttemptStarted", "StepCompleted", "RunClosed"),
        ]
        env.assert_replays(run)


async def test_a_crash_before_a_step_loses_an_attempt_that_did_nothing() -> None:
    async with Environment() as env:
        env.crash_at(extract, moment="before")
        assert_completed(await env.start(etl), 3)
        assert ran == ["extract", "total"]


async def test_a_crash_while_a_retry_waits_keeps_the_wait() -> None:
    async with Environment() as env:
        run = await env.start(patient, 1)
        await env.crash()
        assert ran == ["extract", "attempt 1"]
        await env.time_skip("59m")
        assert run.status is RunStatus.SUSPENDED
        await env.time_skip("1m")
        assert_completed(run, 2)


@app.step(recoveries=0)
async def only_once() -> None:
    ran.append("once")


@app.workflow
async def careful() -> None:
    await only_once()


async def test_a_step_that_may_not_be_recovered_fails_after_the_crash() -> None:
    async with Environment() as env:
        env.crash_at(only_once)
        assert_failed(await env.start(careful), "MaxRecoveryAttempts")
        assert ran == ["once"]


async def test_a_crash_that_no_run_came_to_fails_the_test() -> None:
    env = Environment()
    env.crash_at(total)
    env.crash_at(7)
    await env.__aenter__()
    await env.start(nightly)
    with pytest.raises(AssertionError, match=r"no run came to step total \(after\), step 7"):
        await env.__aexit__(None, None, None)


@app.workflow
async def forgetful() -> None:
    await extract()
    if len(ran) > 1:
        await total([1])
    ran.append("came by")
    await holdfast.sleep("1d")
    await extract()


async def test_code_that_does_something_else_the_second_time_is_found_by_a_crash() -> None:
    async with Environment() as env:
        await env.start(forgetful)
        with pytest.raises(NonDeterminism, match="called step total"):
            await env.crash()


@app.workflow
async def decided(limit: str) -> list[str]:
    seen = [await holdfast.receive("go", str)]
    try:
        seen.append(await holdfast.receive("go", str, timeout=limit))
    except TimeoutError:
        seen.append("late")
    return seen


async def test_signals_arrive_when_the_test_sends_them() -> None:
    async with Environment() as env:
        run = await env.start(decided, "1h")
        assert_waits_for(run, "signal go")
        await run.signal("go", "a")
        await env.crash()
        await env.time_skip("59m")
        await run.signal("go", "b")
        assert_completed(run, ["a", "b"])
    async with Environment() as env:
        run = await env.start(decided, "1h")
        await run.signal("go", "a")
        await env.time_skip("1h")
        assert_completed(run, ["a", "late"])


async def test_a_run_that_waits_in_vain_has_no_result_and_a_cancelled_one_ends() -> None:
    async with Environment() as env:
        run = await env.start(decided, "1h")
        with pytest.raises(RunNotFinished, match="signal go"):
            await run.result()
        assert await run.cancel("enough")
        assert run.status is RunStatus.CANCELLED
        assert not await run.cancel()


@app.workflow
async def parent() -> int:
    return await etl() + await etl()


async def test_children_have_the_same_steps_clock_and_crashes() -> None:
    async with Environment() as env:
        env.override(extract=[5])
        env.crash_at(total)
        run = await env.start(parent)
        assert_completed(run, 10)
        assert [child.value() for child in run.children] == [5, 5]
        assert len(env.runs) == 3
        for one in env.runs:
            env.assert_replays(one)


@app.workflow(id="sale-{item}")
async def sale(item: str, count: int) -> int:
    return await total([count])


async def test_one_id_is_one_run() -> None:
    async with Environment() as env:
        first = await env.start(sale, "lamp", 2)
        again = await env.start(sale, "lamp", 2)
        assert (first.id, first.run_id) == ("sale-lamp", again.run_id)
        assert ran == ["total"]
        with pytest.raises(RunConflict, match="other arguments"):
            await env.start(sale, "lamp", 3)
        assert len(env.runs) == 1


async def test_assertions_say_what_was_instead() -> None:
    async with Environment() as env:
        run = await env.start(etl)
        assert_step_called(run, "total", [1, 2])
        assert_step_not_called(run, charge)
        for check, words in (
            (lambda: assert_completed(run, 4), "completed with 3, not 4"),
            (lambda: assert_failed(run), "has not failed: it is completed"),
            (lambda: assert_waits_for(run, "signal go"), "does not wait for signal go: it is completed"),
            (lambda: assert_step_called(run, charge), "has not called step charge; it called extract, total"),
            (
                lambda: assert_step_called(run, total, [1]),
                r"called step total\(numbers=\[1\]\), but with \(numbers=\[1, 2",
            ),
            (lambda: assert_step_not_called(run, total), "has called step total, as number 2"),
        ):
            with pytest.raises(AssertionError, match=words):
                check()
        failing = await env.start(buy, "o", Decimal(1))
        with pytest.raises(AssertionError, match="has not completed: it is suspended"):
            assert_completed(failing)


async def test_bad_input_is_refused_with_a_sentence() -> None:
    env = Environment()
    with pytest.raises(RuntimeError, match="async with Environment"):
        await env.start(etl)
    async with env:
        with pytest.raises(TypeError, match="takes a workflow"):
            await env.start(extract)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match='"before" or "after"'):
            env.crash_at(total, moment="during")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="count from 1"):
            env.crash_at(0)


async def test_a_history_of_other_code_is_refused_with_the_entry_and_the_line() -> None:
    async with Environment() as env:
        run = await env.start(etl)
        with pytest.raises(ReplayMismatch) as caught:
            env.assert_replays(run, nightly)
    assert (caught.value.entry, caught.value.expected) == (2, "step extract (1)")
    line = nightly.definition.function.__code__.co_firstlineno + 2
    assert caught.value.actual == "set a timer of 1 day, 0:00:00"
    assert caught.value.place.endswith(f"test_environment.py:{line}")


async def test_a_run_of_run_local_replays_and_a_name_of_several_apps_is_not_guessed() -> None:
    run = await run_local(etl)
    assert_replays(run)
    stored = StoredRun(run.info, run.arguments, run.history)
    assert_replays(stored)
    other = App("environment-2")

    @other.workflow(name="etl")
    async def second() -> None: ...

    with pytest.raises(HoldfastError, match="the apps 'environment', 'environment-2' have a workflow 'etl'"):
        assert_replays(stored)
    with pytest.raises(HoldfastError, match=r"no workflow is called 'etk'.*Did you mean 'etl'"):
        assert_replays(StoredRun(replace(run.info, workflow="etk"), run.arguments, run.history))
    with pytest.raises(TypeError, match="takes a run of a test"):
        assert_replays(5)


@app.workflow(id="count-{left}")
async def counts(left: int) -> str:
    word = await holdfast.receive("word", str, timeout="1h")
    if left:
        holdfast.continue_as_new(left - 1)
    return word


async def test_a_run_that_continues_as_new_is_followed_over_crashes() -> None:
    async with Environment() as env:
        run = await env.start(counts, 2)
        first = run.run_id
        await run.signal("word", "a")
        await env.crash()
        assert run.run_id != first
        await run.signal("word", "b")
        await run.signal("word", "c")
        assert_completed(run, "c")
        assert [one.run_id for one in env.runs] == [run.run_id]
        env.assert_replays(run)
