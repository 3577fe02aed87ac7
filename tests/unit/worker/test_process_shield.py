"""What code of a step cannot do to the process that others run in too, and what all other code can."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from os import kill as kill_by_name

import pytest

from holdfast.worker.log_facts import AttemptFacts, current_attempt
from holdfast.worker.process_shield import DRAINS, ProcessIsShared, let_pool_threads_go, shielded

FACTS = AttemptFacts("run_1", "order", "charge", 2, "", 1)


@pytest.fixture(autouse=True)
async def received() -> AsyncIterator[list[int]]:
    """The signals that this process gets, which end nothing here."""
    signals: list[int] = []
    before = {number: signal.signal(number, lambda got, _: signals.append(got)) for number in DRAINS}
    with shielded(asyncio.get_running_loop()):
        yield signals
    for number, handler in before.items():
        signal.signal(number, handler)


def in_an_attempt(act: Callable[[], object]) -> None:
    token = current_attempt.set(FACTS)
    try:
        act()
    finally:
        current_attempt.reset(token)


async def test_a_name_that_was_imported_before_is_shielded_too() -> None:
    with pytest.raises(ProcessIsShared, match=r"^os.kill\(\d+, SIGTERM\) would be for all"):
        in_an_attempt(lambda: kill_by_name(os.getpid(), signal.SIGTERM))


async def test_code_around_a_worker_may_send_its_process_a_signal(received: list[int]) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)
    assert received == [signal.SIGTERM, signal.SIGINT]


async def test_a_server_in_a_step_may_have_handlers_of_its_own_in_python(received: list[int]) -> None:
    def serve() -> None:
        before = signal.signal(signal.SIGTERM, lambda *_: received.append(0))
        signal.signal(signal.SIGTERM, before)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, received.append, 1)

    in_an_attempt(serve)
    assert asyncio.get_running_loop().remove_signal_handler(signal.SIGUSR1)


async def test_a_step_may_end_a_process_of_its_own() -> None:
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(60)")
    in_an_attempt(lambda: os.kill(child.pid, signal.SIGTERM))
    assert await asyncio.wait_for(child.wait(), 10) == -signal.SIGTERM


async def test_a_thread_that_a_step_has_started_is_code_of_the_step() -> None:
    refused: list[ProcessIsShared] = []

    def end() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except ProcessIsShared as error:
            refused.append(error)

    def start_one() -> None:
        other = threading.Thread(target=end)
        other.start()
        other.join()

    thread = threading.Thread(target=start_one)
    in_an_attempt(thread.start)
    thread.join()
    assert len(refused) == 1


async def test_a_pool_thread_that_a_step_has_made_is_not_the_steps_afterwards(received: list[int]) -> None:
    loop = asyncio.get_running_loop()
    token = current_attempt.set(FACTS)
    await asyncio.to_thread(int)
    current_attempt.reset(token)
    with pytest.raises(ProcessIsShared):  # the attempt still runs
        await loop.run_in_executor(None, os.kill, os.getpid(), signal.SIGTERM)
    let_pool_threads_go(FACTS.run_id, FACTS.number, FACTS.attempt)
    await loop.run_in_executor(None, os.kill, os.getpid(), signal.SIGTERM)
    assert received == [signal.SIGTERM]


async def test_what_a_step_runs_in_a_pool_thread_is_code_of_the_step() -> None:
    token = current_attempt.set(FACTS)
    with pytest.raises(ProcessIsShared):
        await asyncio.to_thread(os.kill, os.getpid(), signal.SIGTERM)
    current_attempt.reset(token)


async def test_a_loop_is_as_it_was_when_its_last_worker_has_left() -> None:
    loop = asyncio.get_running_loop()
    with shielded(loop):
        pass
    with pytest.raises(ProcessIsShared, match=r"^loop.stop\(\) "):
        in_an_attempt(loop.stop)


async def test_all_tasks_are_all_of_them_outside_of_steps_and_on_other_loops() -> None:
    async def count() -> int:
        return len(asyncio.all_tasks())

    def count_there() -> None:
        counted.append(asyncio.run(count()))

    assert asyncio.current_task() in asyncio.all_tasks()
    counted: list[int] = []
    thread = threading.Thread(target=count_there)
    in_an_attempt(thread.start)
    thread.join()
    assert counted == [1]


GROUPS = """
import asyncio, os, signal, sys
from holdfast.worker.log_facts import AttemptFacts, current_attempt
from holdfast.worker.process_shield import ProcessIsShared, shielded

async def main():
    loop = asyncio.get_running_loop()
    with shielded(loop):
        current_attempt.set(AttemptFacts("run_1", "order", "charge", 2, "", 1))
        group = os.getpgrp()
        for act in (
            lambda: os.killpg(group, signal.SIGTERM),
            lambda: os.killpg(0, signal.SIGTERM),
            lambda: os.kill(0, signal.SIGINT),
            lambda: os.kill(-group, signal.SIGTERM),
            lambda: os.kill(os.getppid(), signal.SIGTERM),
        ):
            try:
                act()
            except ProcessIsShared:
                print("refused", flush=True)
        child = os.fork()
        if not child:
            try:
                os.kill(os.getppid(), signal.SIGTERM)
            except ProcessIsShared:
                print("refused", flush=True)
            signal.raise_signal(signal.SIGTERM)
        print("child", -os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

asyncio.run(main())
"""


async def test_neither_its_group_nor_its_parent_is_ended_by_a_step_and_a_forked_child_ends_itself_alone() -> None:
    made = await asyncio.create_subprocess_exec(
        sys.executable, "-c", GROUPS, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    output, errors = await asyncio.wait_for(made.communicate(), 30)
    assert output.decode().split("\n") == ["refused"] * 6 + [f"child {int(signal.SIGTERM)}", ""], errors.decode()
