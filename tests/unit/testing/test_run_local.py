"""Workflows run in a test without services: virtual time, real steps."""

import asyncio
import decimal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

import holdfast
from holdfast import App, Context, FatalError, RunFailed, RunStatus, StepFailed
from holdfast.errors import ArgumentsRejected, RunCancelled, RunTimedOut
from holdfast.journal import StepScheduled
from holdfast.testing import RunNotFinished, run_local

app = App("run-local")


@app.step
async def double(x: int) -> int:
    return 2 * x


@app.step
def plus_one(x: int) -> int:
    return x + 1


@app.workflow
async def my_workflow(x: int) -> int:
    return await plus_one(await double(x))


@pytest.mark.feature("F126")
async def test_a_run_needs_no_service() -> None:
    run = await run_local(my_workflow, 5)
    assert run.status == "completed"
    assert run.result == run.value() == 11
    assert [type(entry).__name__ for entry in run.history] == [
        *("RunStarted", "StepScheduled", "StepCompleted", "StepScheduled", "StepCompleted", "RunClosed")
    ]


@pytest.mark.feature("F126")
def test_it_works_outside_a_running_loop_too() -> None:
    assert asyncio.run(run_local(my_workflow, x=5)).value() == 11


@app.workflow
async def sleepy() -> float:
    before = holdfast.now()
    await holdfast.sleep("3d", name="long")
    await asyncio.sleep(3600)
    return (holdfast.now() - before).total_seconds()


@pytest.mark.feature("F127")
async def test_sleeps_are_skipped() -> None:
    started = time.monotonic()
    run = await run_local(sleepy)
    assert time.monotonic() - started < 2
    assert run.value() == pytest.approx(3 * 86400 + 3600, abs=5)
    assert run.took > timedelta(days=3)


async def test_retries_follow_the_policy_on_virtual_time() -> None:
    attempts: list[int] = []
    local = App("retries")

    @local.step(retries=3, backoff=[10, 20, 30])
    def flaky(context: Context[None]) -> str:
        attempts.append(context.attempt)
        if len(attempts) < 4:
            raise ValueError("not yet")
        return context.idempotency_key

    @local.workflow
    async def flow() -> str:
        return await flaky()

    run = await run_local(flow)
    assert run.value() == f"{run.run_id}/1"
    assert attempts == [1, 2, 3, 4]
    assert timedelta(seconds=60) <= run.took < timedelta(seconds=65)


async def test_a_failed_run_tells_the_original_error() -> None:
    local = App("failing")

    @local.step
    async def explode() -> None:
        raise FatalError("no use")

    @local.workflow
    async def flow() -> None:
        await explode()

    run = await run_local(flow)
    assert run.status is RunStatus.FAILED
    with pytest.raises(RunFailed, match="no use") as caught:
        run.value()
    assert isinstance(caught.value.__cause__, FatalError)


@app.workflow
async def approval() -> list[int]:
    first = await holdfast.receive("go", int)
    try:
        return [first, await holdfast.receive("go", int, timeout="1h")]
    except TimeoutError:
        return [first]


async def test_signals_arrive_when_they_are_said_to() -> None:
    assert (await run_local(approval, signals=[("go", 1), ("go", 2)])).value() == [1, 2]
    assert (await run_local(approval, signals=[("go", 1), ("go", 2, "59m")])).value() == [1, 2]
    assert (await run_local(approval, signals=[("go", 1), ("go", 2, "61m")])).value() == [1]


async def test_a_run_that_waits_for_what_never_comes_says_for_what() -> None:
    run = await run_local(approval)
    assert run.status is RunStatus.SUSPENDED
    assert run.waits == ("signal go",)
    with pytest.raises(RunNotFinished, match="signal go"):
        run.value()


@dataclass
class Deps:
    greeting: str


@app.step
def greet(context: Context[Deps], name: str) -> str:
    return f"{context.deps.greeting} {name}"


@app.workflow
async def greeting(name: str) -> str:
    return await greet(name)


async def test_steps_get_the_deps() -> None:
    assert (await run_local(greeting, "Ada", deps=Deps("hello"))).value() == "hello Ada"


async def test_a_step_that_asks_for_deps_without_any_fails_with_a_sentence() -> None:
    with pytest.raises(RunFailed, match="was given none"):
        (await run_local(greeting, "Ada")).value()


async def test_plain_steps_run_in_threads_side_by_side() -> None:
    local = App("threads")
    together = threading.Barrier(3, timeout=10)

    @local.step
    def meet() -> str:
        together.wait()
        return threading.current_thread().name

    @local.workflow
    async def flow() -> list[str]:
        return list(await asyncio.gather(meet(), meet(), meet()))

    names = (await run_local(flow)).value()
    assert len(set(names)) == 3
    assert threading.current_thread().name not in names


@app.workflow
async def parent(x: int) -> int:
    return sum(await asyncio.gather(my_workflow(x), my_workflow(x + 1)))


async def test_children_run_along() -> None:
    assert (await run_local(parent, 5)).value() == 11 + 13


async def test_a_failed_child_raises_in_its_parent() -> None:
    local = App("children")

    @local.workflow
    async def child() -> None:
        raise ValueError("in the child")

    @local.workflow
    async def flow() -> str:
        try:
            await child()
        except RunFailed as failed:
            return failed.message
        return ""

    assert (await run_local(flow)).value() == "in the child"


async def test_a_timeout_ends_a_step_that_hangs() -> None:
    local, cancelled = App("hanging"), asyncio.Event()

    @local.step(retries=0)
    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    @local.workflow
    async def flow() -> str:
        try:
            async with asyncio.timeout(0.05):
                await hang()
        except TimeoutError:
            return "late"
        return ""

    assert (await run_local(flow)).value() == "late"
    assert cancelled.is_set()


async def test_a_step_past_its_timeout_fails_with_a_timeout() -> None:
    local = App("step-timeout")

    @local.step(retries=0, timeout="20ms")
    async def hang() -> None:
        await asyncio.Event().wait()

    @local.workflow
    async def flow() -> str:
        try:
            await hang()
        except StepFailed as failed:
            return failed.error_type
        return ""

    assert (await run_local(flow)).value() == "TimeoutError"


@pytest.mark.feature("F75")
async def test_a_run_past_its_deadline_times_out() -> None:
    local = App("deadline")

    @local.workflow(max_duration="1h")
    async def flow() -> None:
        await holdfast.sleep("1d")

    run = await run_local(flow)
    assert run.status is RunStatus.TIMED_OUT
    with pytest.raises(RunTimedOut):
        run.value()


async def test_children_of_a_run_that_closes_are_cancelled() -> None:
    local = App("closing")
    seen: list[str] = []

    @local.workflow
    async def child() -> None:
        try:
            await holdfast.sleep("1d")
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    @local.workflow
    async def flow() -> str:
        try:
            async with asyncio.timeout(1):
                await child()
        except TimeoutError:
            await holdfast.sleep("1s")
        except RunCancelled:
            return "unexpected"
        return "done"

    assert (await run_local(flow)).value() == "done"
    assert seen == ["cancelled"]


async def test_arguments_that_do_not_fit_are_refused_at_the_start() -> None:
    with pytest.raises(ArgumentsRejected):
        await run_local(my_workflow)


left_behind: list[int] = []


@app.step
def leave_a_trace() -> None:
    left_behind.append(1)


@app.workflow
async def does_not_wait() -> str:
    left = asyncio.create_task(leave_a_trace())
    await asyncio.sleep(0)
    assert not left.done()
    return "ended"


async def test_a_step_that_the_code_leaves_behind_as_it_ends_never_starts_as_on_a_worker() -> None:
    run = await run_local(does_not_wait)
    assert run.value() == "ended"
    await asyncio.sleep(0.05)
    assert left_behind == []


def test_a_step_that_hangs_does_not_keep_the_test_process_alive() -> None:
    program = """
import asyncio, time
from holdfast import step, workflow
from holdfast.testing import run_local

@step(timeout="0.1s", retries=0)
def hang() -> None:
    time.sleep(60)

@workflow
async def flow() -> None:
    await hang()

print(asyncio.run(run_local(flow)).status)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert ended.stdout.strip() == "failed", ended.stderr


@app.workflow
async def divides() -> str:
    return str(Decimal(1) / Decimal(3))


async def test_decimal_settings_of_a_module_reach_workflow_code_and_stay_as_they_were() -> None:
    with decimal.localcontext() as context:
        context.prec = 40
        run = await run_local(divides)
        assert run.value() == "0." + "3" * 40
        assert decimal.getcontext() is context


@app.step(backoff="1s")
async def goes_on(ctx: Context[None]) -> list[int | None]:
    begun = ctx.saved
    if ctx.attempt < 3:
        await ctx.save(ctx.attempt * 10)
        raise ValueError("not yet")
    return [begun, ctx.attempt]


@app.step(retries=0, heartbeat_timeout="50ms")
def silent() -> None:
    time.sleep(0.3)


@app.step(heartbeat_timeout="500ms")
def lively(ctx: Context[None]) -> Any:
    for number in range(8):
        time.sleep(0.1)
        ctx.heartbeat({"at": number})
    return ctx.saved


@app.workflow
async def progress() -> list[Any]:
    with pytest.raises(StepFailed, match=r"No heartbeat for 0\.05s"):
        await silent()
    return [await goes_on(), await lively()]


async def test_progress_is_kept_for_the_next_attempt_and_silence_ends_one() -> None:
    assert (await run_local(progress)).value() == [[20, 3], {"at": 7}]


async def test_what_cannot_be_saved_fails_the_step_and_says_so() -> None:
    local = App("unsaved")

    @local.step(retries=0)
    async def saves_a_lock(ctx: Context[None]) -> None:
        await ctx.save(threading.Lock())

    @local.workflow
    async def flow() -> None:
        await saves_a_lock()

    run = await run_local(flow)
    with pytest.raises(RunFailed, match="progress of step saves_a_lock"):
        run.value()


@app.workflow
async def collects(count: int) -> list[str]:
    items: list[str] = []

    @holdfast.on_signal("add")
    async def add(item: str) -> None:
        await holdfast.sleep("1h")
        items.append(f"{item} {await double(len(items))}")

    await holdfast.wait_until(lambda: len(items) >= count, timeout="1d")
    return items


async def test_handlers_and_conditions_work_as_on_a_worker() -> None:
    signals = [("add", "lamp"), ("add", 5), ("add", "chair", "2h")]
    run = await run_local(collects, 2, signals=signals)
    assert run.value() == ["lamp 0", "chair 2"]
    assert timedelta(hours=3) <= run.took < timedelta(hours=4)
    assert any(type(entry).__name__ == "SignalSetAside" for entry in run.history)


async def test_a_condition_that_stays_false_ends_with_its_limit_or_says_what_it_waits_for() -> None:
    run = await run_local(collects, 2, signals=[("add", "lamp")])
    assert run.took >= timedelta(days=1)
    with pytest.raises(RunFailed, match="wait_until: the condition"):
        run.value()


@app.workflow
async def undoes() -> None:
    async with holdfast.Saga() as saga:
        saga.add(plus_one, 1)
        saga.add(double, 1)
        await asyncio.gather(double(5), holdfast.receive("never", timeout="1h"))


async def test_a_saga_undoes_as_on_a_worker() -> None:
    run = await run_local(undoes)
    assert run.status is RunStatus.FAILED
    assert [entry.name for entry in run.history if isinstance(entry, StepScheduled)] == ["double", "double", "plus_one"]
