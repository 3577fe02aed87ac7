"""Attempts as they run: async and plain functions, timeouts, cancelling, what is a failure of the step."""

import asyncio
import contextlib
import contextvars
import gc
import inspect
import logging
import multiprocessing
import os
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import timedelta

import pytest

from holdfast.authoring.apps import App
from holdfast.codec import Codec
from holdfast.definitions.context import Context
from holdfast.journal import Arguments
from holdfast.worker import attempts
from holdfast.worker.attempts import NO_DEPS, AttemptCall, AttemptRunner
from holdfast.worker.retries import Expired, Raised, Returned
from holdfast.worker.threads import DaemonThreads
from tests.support import pool_steps
from tests.support.worker_driving import payload

app = App("attempts")
flag = contextvars.ContextVar("flag", default="clean")


@app.step
async def double(number: int) -> int:
    return number * 2


@app.step
def plain_double(number: int) -> int:
    return number * 2


@app.step
async def set_flag() -> str:
    seen = flag.get()
    flag.set("dirty")
    return seen


@app.step
async def leave(error: str) -> None:
    raise {"exit": SystemExit(3), "interrupt": KeyboardInterrupt(), "cancel": asyncio.CancelledError()}[error]


@app.step
def plain_leave() -> None:
    raise SystemExit(3)


@app.step
async def close_generators() -> None:
    raise GeneratorExit


@app.step
async def be_undescribable() -> None:
    class OddError(Exception):
        def __str__(self) -> str:
            raise KeyboardInterrupt

    raise OddError


@app.step
async def never_leave() -> None:
    for _ in range(2):  # at the end of a test it is cancelled once more
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


let_go = threading.Event()


@app.step
def hang() -> None:
    let_go.wait(30)


@app.step
async def give_lock() -> object:
    return threading.Lock()


@app.step
async def sleep_long() -> None:
    await asyncio.sleep(60)


@app.step
async def describe(ctx: Context[dict[str, str]], word: str) -> str:
    return f"{word} {ctx.deps['who']} {ctx.step} {ctx.attempt} {ctx.idempotency_key} {ctx.cancelled}"


class Desk:
    """Hears what becomes of attempts."""

    def __init__(self, *, deps=NO_DEPS, threads: int = 4, executor=None) -> None:
        self.ended = []
        self.slots_freed = 0
        self.has_ended = asyncio.Event()
        self.threads = DaemonThreads(threads)
        self.runner = AttemptRunner(
            asyncio.get_running_loop(),
            codec=Codec(),
            executor=executor or self.threads,
            listener=self,
            context=contextvars.copy_context(),
            deps=deps,
        )
        self.done = asyncio.Event()
        self.waited_for = 1

    def attempt_ended(self, attempt, how) -> None:
        self.ended.append(how)
        self.has_ended.set()

    def slot_freed(self) -> None:
        self.slots_freed += 1
        if self.slots_freed >= self.waited_for:
            self.done.set()

    def start(self, name, *arguments, timeout=None):
        return self.runner.start(
            AttemptCall(
                None,
                "run_1",
                "flow",
                4,
                2,
                app.steps[name],
                Arguments(tuple(payload(one) for one in arguments)),
                None if timeout is None else timedelta(seconds=timeout),
            )
        )

    async def run(self, name, *arguments, timeout=None):
        self.start(name, *arguments, timeout=timeout)
        async with asyncio.timeout(10):
            await self.done.wait()
        (how,) = self.ended
        return how


@pytest.mark.feature("F15")
@pytest.mark.parametrize("name", ["double", "plain_double"])
async def test_async_and_plain_functions_give_their_results_alike(name):
    desk = Desk()
    how = await desk.run(name, 21)
    assert isinstance(how, Returned)
    assert how.result.data == b"42"
    assert desk.slots_freed == 1


@pytest.mark.feature("F19")
async def test_arguments_are_coerced_as_annotated():
    assert (await Desk().run("double", "3")).result.data == b"6"


@pytest.mark.feature("F19")
async def test_arguments_that_do_not_fit_name_the_step_and_the_parameter():
    how = await Desk().run("double", "x")
    assert how.failure.error_type == "ArgumentsRejected"
    assert "step double" in how.failure.message
    assert "number" in how.failure.message
    assert (how.failure.step.name, how.failure.step.number, how.failure.step.attempts) == ("double", 4, 2)


@pytest.mark.feature("F57")
async def test_a_result_that_cannot_be_encoded_names_its_step_and_type():
    how = await Desk().run("give_lock")
    assert how.failure.error_type == "PayloadNotSerializable"
    assert "give_lock" in how.failure.message
    assert "lock" in how.failure.message


@pytest.mark.parametrize(
    ("error", "name"), [("exit", "SystemExit"), ("interrupt", "KeyboardInterrupt"), ("cancel", "CancelledError")]
)
async def test_what_would_end_a_program_ends_the_step_only(error, name):
    how = await Desk().run("leave", error)
    assert isinstance(how, Raised)
    assert how.failure.error_type == name


async def test_an_exit_in_a_plain_function_ends_the_step_only():
    assert (await Desk().run("plain_leave")).failure.error_type == "SystemExit"


@pytest.mark.feature("F74")
async def test_an_attempt_past_its_timeout_is_ended_and_cancelled():
    desk = Desk()
    how = await desk.run("sleep_long", timeout=0.05)
    assert how == Expired(timedelta(seconds=0.05))
    assert desk.slots_freed == 1


@pytest.mark.feature("F74")
async def test_a_plain_function_past_its_timeout_keeps_its_slot_and_its_result_is_dropped():
    release = threading.Event()

    @app.step(name=f"block-{time.time_ns()}")
    def block() -> str:
        release.wait(10)
        return "late"

    desk = Desk()
    desk.start(block.definition.name, timeout=0.02)
    async with asyncio.timeout(10):
        await desk.has_ended.wait()
    assert desk.slots_freed == 0, "its thread still runs"
    release.set()
    async with asyncio.timeout(10):
        await desk.done.wait()
    assert desk.ended == [Expired(timedelta(seconds=0.02))]


async def test_nothing_is_heard_of_a_cancelled_attempt_but_its_slot():
    desk = Desk()
    attempt = desk.start("sleep_long")
    await asyncio.sleep(0)
    desk.runner.cancel(attempt)
    async with asyncio.timeout(10):
        await desk.done.wait()
    assert desk.ended == []


async def test_an_attempt_cancelled_before_its_first_line_gives_its_slot_back_once():
    desk = Desk()
    desk.runner.cancel(desk.start("double", 1))
    for _ in range(3):
        await asyncio.sleep(0)
    assert (desk.slots_freed, desk.ended) == (1, [])


async def test_a_coroutine_of_a_plain_step_that_is_cancelled_before_it_begins_is_not_called_never_awaited():
    returned = []

    @app.step(name=f"hand-over-{time.time_ns()}")
    def hand_over() -> object:
        returned.append(asyncio.sleep(60))
        return returned[0]

    desk, loop = Desk(), asyncio.get_running_loop()

    def cancelled_before_its_first_step(_loop, coroutine, **options):
        loop.set_task_factory(None)
        loop.call_soon(desk.runner.cancel, attempt)
        return asyncio.Task(coroutine, loop=loop, **options)

    attempt = desk.start(hand_over.definition.name)
    loop.set_task_factory(cancelled_before_its_first_step)
    async with asyncio.timeout(10):
        await desk.done.wait()
        await asyncio.wait([attempt.task])
    assert inspect.getcoroutinestate(returned[0]) == inspect.CORO_CLOSED
    assert (desk.slots_freed, desk.ended) == (1, [])


def test_a_coroutine_that_a_plain_step_returns_after_its_worker_left_is_not_called_never_awaited():
    returned, release = [], threading.Event()

    @app.step(name=f"hand-over-late-{time.time_ns()}")
    def hand_over_late() -> object:
        release.wait(10)
        returned.append(asyncio.sleep(60))
        return returned[0]

    async def leave_at_once():
        return Desk().start(hand_over_late.definition.name)

    attempt = asyncio.run(leave_at_once())
    release.set()
    attempt.future.result(10)
    called = threading.Event()
    attempt.future.add_done_callback(lambda _: called.set())
    assert called.wait(10)
    assert inspect.getcoroutinestate(returned[0]) == inspect.CORO_CLOSED


async def test_context_variables_of_one_attempt_are_not_seen_by_the_next():
    desk = Desk()
    desk.waited_for = 2
    desk.start("set_flag")
    desk.start("set_flag")
    async with asyncio.timeout(10):
        await desk.done.wait()
    assert [how.result.data for how in desk.ended] == [b'"clean"', b'"clean"']


async def test_a_step_gets_its_context_with_the_deps_of_the_worker():
    how = await Desk(deps={"who": "world"}).run("describe", "hello")
    assert how.result.data == b'"hello world describe 2 run_1/4 False"'


async def test_a_step_that_asks_for_deps_the_worker_has_not_fails_and_says_so():
    how = await Desk().run("describe", "hello")
    assert how.failure.error_type == "ContextUnavailable"
    assert "Worker(..., deps=...)" in how.failure.message


@pytest.mark.feature("F15")
async def test_a_plain_function_does_not_hold_up_the_loop():
    release = threading.Event()

    @app.step(name=f"wait-{time.time_ns()}")
    def wait() -> str:
        release.wait(10)
        return "waited"

    desk = Desk()
    desk.start(wait.definition.name)
    desk.start("double", 1)
    async with asyncio.timeout(10):
        await desk.done.wait()
    assert [how.result.data for how in desk.ended] == [b"2"]
    release.set()
    desk.done.clear()
    desk.waited_for = 2
    async with asyncio.timeout(10):
        await desk.done.wait()
    assert desk.ended[-1].result.data == b'"waited"'


async def test_threads_are_reused_and_never_more_than_allowed():
    threads = DaemonThreads(3)
    names = {threads.submit(lambda: threading.current_thread().name).result(10) for _ in range(20)}
    assert len(names) <= 3
    release = threading.Event()
    futures = [threads.submit(release.wait, 10) for _ in range(9)]
    assert sum(one.running() for one in futures) <= 3
    release.set()
    assert all(one.result(10) for one in futures)
    threads.shutdown()
    with pytest.raises(RuntimeError):
        threads.submit(print)


@pytest.mark.parametrize("step", [pool_steps.process_id, pool_steps.awaited_process_id])
async def test_a_plain_step_runs_in_a_process_of_the_pool_that_the_worker_was_given(step):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        desk = Desk(executor=pool)
        desk.runner.start(AttemptCall(None, "run_1", "flow", 4, 2, step.definition, Arguments()))
        async with asyncio.timeout(30):
            await desk.done.wait()
    (ended,) = desk.ended
    assert isinstance(ended, Returned), ended
    assert int(ended.result.data) != os.getpid()


async def test_a_generator_exit_fails_the_step_and_gives_its_slot_back():
    desk = Desk()
    assert (await desk.run("close_generators")).failure.error_type == "GeneratorExit"
    assert desk.slots_freed == 1


async def test_an_error_whose_text_raises_what_ends_programs_fails_its_step_alone():
    assert (await Desk().run("be_undescribable")).failure.error_type == "OddError"


@pytest.fixture
def short_grace(monkeypatch):
    """Attempts are abandoned soon; threads that hang come back at the end."""
    monkeypatch.setattr(attempts, "GRACE_SECONDS", 0.05)
    let_go.clear()
    yield
    let_go.set()


@pytest.mark.usefixtures("short_grace")
@pytest.mark.parametrize("name", ["hang", "never_leave"])
async def test_a_step_that_runs_on_after_its_timeout_gives_its_slot_back(name, caplog):
    desk = Desk()
    assert isinstance(await desk.run(name, timeout=0.01), Expired)
    assert desk.slots_freed == 1
    assert len(desk.runner.abandoned) == 1
    assert f"attempt 2 of step {name} (4) of run run_1 was ended and still runs" in caplog.text


@pytest.mark.usefixtures("short_grace")
async def test_an_abandoned_thread_that_comes_back_is_forgotten_and_frees_no_second_slot():
    desk = Desk()
    await desk.run("hang", timeout=0.01)
    let_go.set()
    async with asyncio.timeout(10):
        while desk.runner.abandoned:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert desk.slots_freed == 1


@pytest.mark.usefixtures("short_grace")
async def test_a_step_that_ends_in_time_after_its_cancellation_is_not_abandoned(caplog):
    desk = Desk()
    with caplog.at_level(logging.WARNING):
        assert isinstance(await desk.run("sleep_long", timeout=0.01), Expired)
        await asyncio.sleep(0.1)
    assert desk.slots_freed == 1
    assert not desk.runner.abandoned
    assert not caplog.records


@pytest.mark.usefixtures("short_grace")
async def test_a_step_that_swallows_its_cancellation_is_not_collected_with_its_slot():
    desk = Desk()
    attempt = desk.start("never_leave", timeout=0.01)
    del attempt
    async with asyncio.timeout(10):
        await desk.has_ended.wait()
        gc.collect()
        await desk.done.wait()
    assert desk.slots_freed == 1


@pytest.mark.usefixtures("short_grace")
async def test_only_so_many_attempts_run_on_without_a_slot(monkeypatch, caplog):
    monkeypatch.setattr(attempts, "ABANDONED_MAX", 2)
    desk = Desk()
    desk.waited_for = 2
    for _ in range(3):
        desk.start("never_leave", timeout=0.01)
    async with asyncio.timeout(10):
        while "Restart this worker" not in caplog.text:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert desk.slots_freed == 2


@pytest.mark.usefixtures("short_grace")
async def test_a_call_in_the_users_own_executor_keeps_its_slot_because_it_keeps_its_place_there(caplog):
    pool = ThreadPoolExecutor(1)
    desk = Desk(executor=pool)
    desk.start("hang", timeout=0.01)
    async with asyncio.timeout(10):
        while "keeps its place in the executor" not in caplog.text:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert desk.slots_freed == 0
    let_go.set()
    async with asyncio.timeout(10):
        await desk.done.wait()
    assert desk.slots_freed == 1
