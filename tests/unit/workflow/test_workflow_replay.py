"""Replaying a journal, or any part of it, brings the code to where it was."""

import asyncio
import gc
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.journal import CancelRequested, Entry
from holdfast.statuses import RunStatus
from holdfast.workflow.commands import Command
from tests.support import workflows_to_replay as flows
from tests.support.workflow_driver import Driver, entry_of, instance_of, replayed

_HERE = Path(__file__).parent


def recorded(function: Callable[..., Any], seed: int) -> Driver:
    return Driver(function, seed=seed, mail=flows.mail_for(function), children={"child": flows.child}).run()


def decisions_after(journal: list[Entry], position: int) -> list[Entry]:
    """The decisions recorded next, up to the next observation."""
    found = []
    for entry in journal[position:]:
        if type(entry).__name__ not in DECISIONS:
            break
        found.append(entry)
    return found


DECISIONS = {
    *("StepScheduled", "StepCancelled", "TimerSet", "TimerCancelled", "ChildStarted", "ChildCancelled", "RunClosed"),
    *("MailSent", "MetadataSet", "UserSpanBegan", "UserSpan", "StepSkipped", "SignalSetAside", "Noted"),
}


@pytest.mark.parametrize("function", flows.ALL, ids=lambda function: function.__name__)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_every_prefix_of_a_journal_replays_to_the_decisions_that_follow_it(
    function: Callable[..., Any], seed: int
) -> None:
    driver = recorded(function, seed)
    assert driver.closed.status is RunStatus.COMPLETED, driver.closed.failure
    journal = driver.journal
    for length in range(1, len(journal) + 1):
        taken = replayed(function, (), journal[:length])
        expected = decisions_after(journal, length)
        assert [entry_of(command, expected[0].at) for command in taken] == expected


@pytest.mark.parametrize("function", flows.ALL, ids=lambda function: function.__name__)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), crash=st.integers(1, 60))
def test_a_run_that_is_taken_over_anywhere_ends_as_it_would_have(
    function: Callable[..., Any], seed: int, crash: int
) -> None:
    before = recorded(function, seed)
    part = before.journal[: min(crash, len(before.journal) - 1)]
    after = Driver(function, seed=seed, mail=flows.mail_for(function), children={"child": flows.child})
    after.resume(part).run()
    assert after.closed.status is RunStatus.COMPLETED
    assert after.journal[: len(part)] == part
    assert replayed(function, (), after.journal) == []


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_cancelled_run_replays_to_its_cleanup(seed: int) -> None:
    driver = Driver(flows.cancellable, seed=seed, mail=[CancelRequested("enough")]).run()
    if driver.closed.status is RunStatus.CANCELLED:
        assert driver.closed.failure is not None
        assert driver.closed.failure.message == "enough"
    for length in range(1, len(driver.journal) + 1):
        replayed(flows.cancellable, (), driver.journal[:length])


def all_commands(seed: int) -> list[list[Command]]:
    return [recorded(function, seed).commands for function in flows.ALL]


def test_heap_noise_changes_no_command() -> None:
    random = Random(1)
    expected = [repr(commands) for commands in all_commands(1)]
    noise: list[object] = []
    loop = instance_of(flows.sequence)._loop
    for _ in range(40):
        # Of the kinds that the sets hold, too: the allocator keeps objects of each size apart.
        noise += [asyncio.gather(loop.create_future()) for _ in range(20)]
        noise += [bytes(random.randrange(1, 480)) for _ in range(300)]
        random.shuffle(noise)
        del noise[random.randrange(len(noise)) :]
        if random.random() < 0.1:
            gc.collect()
        assert [repr(commands) for commands in all_commands(1)] == expected


def test_hash_seeds_change_no_command() -> None:
    code = (
        "import re, test_workflow_replay as t; "
        "print([re.sub(r'0x[0-9a-f]+', '', repr(t.all_commands(seed))) for seed in (1, 2)])"
    )
    answers = set()
    for seed in ("0", "1", "77", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join([str(_HERE), *sys.path])}
        ran = subprocess.run(
            [sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr
        assert ran.stderr == ""
        answers.add(ran.stdout)
    assert len(answers) == 1
