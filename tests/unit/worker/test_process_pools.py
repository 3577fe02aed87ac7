"""Pools of processes that break: a death loses attempts, never the pool, and what comes back is data."""

import asyncio
import contextvars
import multiprocessing
import os
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from holdfast.client import Client
from holdfast.codec import Codec
from holdfast.journal import Arguments
from holdfast.worker import Worker, attempts
from holdfast.worker.attempts import Attempt, AttemptCall, AttemptRunner
from holdfast.worker.retries import Ended, Expired, Lost, Raised, Returned
from tests.support import pool_steps
from tests.support.worker_driving import payload

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def pool() -> Iterator[ProcessPoolExecutor]:
    made = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))
    yield made
    made.shutdown(wait=False, cancel_futures=True)


class Desk:
    """Hears what becomes of attempts in an executor."""

    def __init__(self, executor: Executor) -> None:
        self.broken: list[BaseException] = []
        self._ended: dict[int, asyncio.Future[Ended]] = {}
        self.slots_freed = 0
        self.runner = AttemptRunner(
            asyncio.get_running_loop(),
            codec=Codec(),
            executor=executor,
            listener=self,
            context=contextvars.copy_context(),
        )

    def attempt_ended(self, attempt: Attempt, how: Ended) -> None:
        self._ended[attempt.call.number].set_result(how)

    def executor_broken(self, error: BaseException) -> None:
        self.broken.append(error)

    def slot_freed(self) -> None:
        self.slots_freed += 1

    def start(self, number: int, name: str, *arguments: Any, timeout: float | None = None) -> "asyncio.Future[Ended]":
        self._ended[number] = asyncio.get_running_loop().create_future()
        limit = None if timeout is None else timedelta(seconds=timeout)
        given = Arguments(tuple(payload(one) for one in arguments))
        self.runner.start(AttemptCall(None, "run_1", "flow", number, 1, pool_steps.app.steps[name], given, limit))
        return self._ended[number]


@pytest.fixture
async def desk(pool: ProcessPoolExecutor) -> AsyncIterator[Desk]:
    made = Desk(pool)
    yield made
    assert made.runner.pools is not None
    made.runner.pools.shutdown()


@pytest.mark.feature("F158")
async def test_an_error_that_cannot_be_unpickled_fails_its_step_and_breaks_no_pool(desk: Desk) -> None:
    how = await desk.start(1, "call_an_api")
    assert isinstance(how, Raised)
    assert isinstance(how.error, pool_steps.ApiError), "retry_on asks for the class"
    assert how.failure.message == "404: nothing here"
    assert how.failure.step is not None
    assert how.failure.step.name == "call_an_api"
    assert 'raise ApiError(404, "nothing here")' in how.failure.traceback
    assert isinstance(await desk.start(2, "process_id"), Returned)


@pytest.mark.parametrize(
    ("name", "kind"), [("leave_the_process", "SystemExit"), ("give_what_cannot_be_sent", "AttributeError")]
)
async def test_what_a_process_cannot_give_fails_its_step_alone(desk: Desk, name: str, kind: str) -> None:
    how = await desk.start(1, name)
    assert isinstance(how, Raised)
    assert how.failure.error_type in (kind, "PicklingError")
    assert isinstance(await desk.start(2, "process_id"), Returned)


@pytest.mark.feature("F158")
async def test_a_killed_process_loses_its_attempt_and_another_pool_takes_its_place(desk: Desk) -> None:
    how = await desk.start(1, "be_killed")
    assert isinstance(how, Lost)
    assert "the process of the pool that ran the step died" in how.failure.message
    for number in range(2, 6):
        assert isinstance(await desk.start(number, "process_id"), Returned)
    assert desk.broken == []


async def test_what_waits_for_a_process_is_not_lost_with_those_that_die(desk: Desk, tmp_path: Path) -> None:
    held = [desk.start(number, "wait_for", str(tmp_path / "go")) for number in (1, 2)]
    waiting = [desk.start(number, "process_id") for number in range(3, 10)]
    await asyncio.sleep(0.5)
    for process in multiprocessing.active_children():
        process.kill()
    assert {type(how) for how in await asyncio.gather(*held)} == {Lost}
    assert {type(how) for how in await asyncio.gather(*waiting)} == {Returned}


async def test_a_step_that_kills_its_process_again_takes_no_other_with_it(desk: Desk, tmp_path: Path) -> None:
    assert isinstance(await desk.start(1, "be_killed"), Lost)
    beside = desk.start(2, "wait_for", str(tmp_path / "go"))
    assert isinstance(await desk.start(1, "be_killed"), Lost)
    (tmp_path / "go").touch()
    assert isinstance(await beside, Returned)


async def test_a_step_whose_process_was_killed_is_done_when_it_is_repeated(desk: Desk, tmp_path: Path) -> None:
    path = str(tmp_path / "killed")
    assert isinstance(await desk.start(1, "be_killed_once", path), Lost)
    how = await desk.start(1, "be_killed_once", path)
    assert isinstance(how, Returned)
    assert how.result.data == b'"done"'


async def test_steps_that_hang_in_all_processes_past_their_timeout_do_not_keep_the_pool(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "GRACE_SECONDS", 0.1)
    hanging = [desk.start(number, "hang_in_its_process", timeout=3) for number in (1, 2)]
    assert {type(how) for how in await asyncio.gather(*hanging)} == {Expired}
    assert isinstance(await desk.start(3, "process_id"), Returned)
    assert desk.slots_freed >= 2


class BrokenForGood(Executor):
    """Takes nothing any more, and nobody knows how to make another one."""

    def submit(self, *_: Any, **__: Any) -> "Future[Any]":
        raise BrokenExecutor("an initializer failed")


def shut_down_threads() -> ThreadPoolExecutor:
    made = ThreadPoolExecutor(1)
    made.shutdown()
    return made


@pytest.mark.parametrize("make", [BrokenForGood, shut_down_threads])
async def test_an_executor_that_takes_nothing_any_more_fails_no_steps_but_ends_its_worker(make: Any) -> None:
    desk = Desk(make())
    assert isinstance(await desk.start(1, "process_id"), Lost)
    assert len(desk.broken) == 1


@pytest.mark.feature("F158")
async def test_forked_processes_are_refused_with_what_to_write_instead() -> None:
    async with Client.connect("127.0.0.1:1", timeout=None) as client:
        forking = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))
        with pytest.raises(ValueError, match=r'mp_context=multiprocessing.get_context\("spawn"\)'):
            Worker(client, steps=[pool_steps.app], executor=forking)
        assert os.getpid()
        Worker(
            client,
            steps=[pool_steps.app],
            executor=ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")),
        )
