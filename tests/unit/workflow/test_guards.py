"""Guards: what a replay cannot repeat raises in workflow code, and says what to write instead."""

import asyncio
import concurrent.futures
import datetime
import gc
import io
import logging
import multiprocessing
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, date
from datetime import datetime as renamed_datetime
from os import urandom
from pathlib import Path
from random import choice
from time import monotonic
from time import time as renamed_time
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

import holdfast
from holdfast import App
from holdfast.codec import Codec
from holdfast.definitions.definitions import WorkflowDefinition
from holdfast.journal import Arguments
from holdfast.testing import run_local
from holdfast.worker import guards, process_shield
from holdfast.workflow.current_run import RunInfo
from holdfast.workflow.instance import WorkflowInstance
from tests.support.workflow_driver import Driver, definition_of

app = App("guards")
kept_in_a_list = [time.time, uuid.uuid4]
pool = concurrent.futures.ThreadPoolExecutor(1)


@app.step
def echo(value: Any) -> Any:
    return value


@pytest.fixture(autouse=True, scope="module")
def _installed() -> None:
    guards.install()
    process_shield.install()  # as a worker does, around the guards


def a_file() -> str:
    return str(Path(__file__))


NOW, RANDOM, UUID, STEP = "holdfast.now()", "holdfast.random()", "holdfast.uuid4()", "put this in a step"
PROCESS = "to end this run, return or raise"

CALLS: dict[str, tuple[Callable[[], Any], str]] = {
    "time.time": (lambda: time.time(), NOW),
    "time imported by name": (lambda: renamed_time(), NOW),
    "time.time_ns": (lambda: time.time_ns(), NOW),
    "time.monotonic": (lambda: monotonic(), NOW),
    "time.perf_counter": (lambda: time.perf_counter(), NOW),
    "time.process_time": (lambda: time.process_time(), NOW),
    "time.localtime": (lambda: time.localtime(), NOW),
    "time.gmtime": (lambda: time.gmtime(), NOW),
    "time.strftime": (lambda: time.strftime("%Y"), NOW),
    "time.sleep": (lambda: time.sleep(0), "holdfast.sleep"),
    "datetime.now": (lambda: datetime.datetime.now(), NOW),
    "datetime.now with a zone": (lambda: renamed_datetime.now(UTC), NOW),
    "datetime.utcnow": (lambda: renamed_datetime.utcnow(), NOW),
    "datetime.today": (lambda: renamed_datetime.today(), NOW),
    "date.today": (lambda: date.today(), NOW),
    "random.random": (lambda: random.random(), RANDOM),
    "random.choice by name": (lambda: choice([1]), RANDOM),
    "random.shuffle": (lambda: random.shuffle([1]), RANDOM),
    "random.Random without a seed": (lambda: random.Random(), RANDOM),
    "random.SystemRandom": (lambda: random.SystemRandom().random(), RANDOM),
    "secrets.token_hex": (lambda: secrets.token_hex(), RANDOM),
    "os.urandom": (lambda: os.urandom(8), RANDOM),
    "os.urandom by name": (lambda: urandom(8), RANDOM),
    "uuid.uuid4": (lambda: uuid.uuid4(), UUID),
    "uuid.uuid4 by name": (lambda: uuid4(), UUID),
    "uuid.uuid1": (lambda: uuid.uuid1(), UUID),
    "uuid.uuid4 from a list": (lambda: kept_in_a_list[1](), UUID),
    "open": (lambda: open(a_file()), STEP),  # noqa: SIM115
    "io.open": (lambda: io.open(a_file()), STEP),  # noqa: SIM115, UP020
    "os.open": (lambda: os.open(a_file(), os.O_RDONLY), STEP),
    "Path.read_text": (lambda: Path(a_file()).read_text(), STEP),
    "Path.exists": (lambda: Path(a_file()).exists(), STEP),
    "os.listdir": (lambda: os.listdir("/"), STEP),
    "tempfile": (lambda: tempfile.NamedTemporaryFile(), ""),  # noqa: SIM115
    "socket": (lambda: socket.socket(), STEP),
    "socket.create_connection": (lambda: socket.create_connection(("127.0.0.1", 1)), STEP),
    "socket.getaddrinfo": (lambda: socket.getaddrinfo("localhost", 1), STEP),
    "subprocess.run": (lambda: subprocess.run(["true"]), STEP),
    "os.system": (lambda: os.system("true"), STEP),
    "os.fork": (lambda: os.fork(), STEP),
    "os.killpg": (lambda: os.killpg(os.getpgrp(), 0), PROCESS),
    "signal.raise_signal": (lambda: signal.raise_signal(signal.SIGCONT), PROCESS),
    "signal.pthread_kill": (lambda: signal.pthread_kill(threading.get_ident(), 0), PROCESS),
    "signal.alarm": (lambda: signal.alarm(0), PROCESS),
    "signal.setitimer": (lambda: signal.setitimer(signal.ITIMER_REAL, 0), PROCESS),
    "signal.signal": (lambda: signal.signal(signal.SIGCONT, signal.SIG_DFL), PROCESS),
    "threading.Thread": (lambda: threading.Thread(target=print).start(), STEP),
    "threading.Timer": (lambda: threading.Timer(0, print).start(), STEP),
    "an executor": (lambda: pool.submit(int), STEP),
    "multiprocessing.Process": (lambda: multiprocessing.get_context("spawn").Process(target=print).start(), STEP),
}

HARMLESS: dict[str, Callable[[], Any]] = {
    "logging": lambda: logging.getLogger("guards").warning("said"),
    "an import": lambda: [sys.modules.pop("colorsys", None), __import__("colorsys")],
    "a seeded Random": lambda: random.Random(5).random(),
    "a zone": lambda: renamed_datetime(2030, 1, 1, tzinfo=UTC).astimezone(ZoneInfo("Europe/Paris")),
    "a given time": lambda: [
        time.gmtime(0),
        time.strftime("%Y", time.gmtime(0)),
        renamed_datetime.fromtimestamp(0, UTC),
    ],
    "print": lambda: print("said"),
    "holdfast": lambda: [holdfast.now(), holdfast.random().random(), holdfast.uuid4()],
}


class GuardedDriver(Driver):
    def __post_init__(self) -> None:
        super().__post_init__()
        definition: WorkflowDefinition = definition_of(self.function)
        info = RunInfo("run_00" + "0" * 26, definition.name)
        self.instance = WorkflowInstance(definition, info, Arguments(), codec=Codec(), is_guarded=True)


@pytest.mark.feature("F151")
@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_a_replay_cannot_repeat_raises_with_what_to_write_instead(name: str) -> None:
    call, instead = CALLS[name]

    async def flow() -> None:
        call()

    failure = GuardedDriver(flow).run().closed.failure
    assert failure is not None
    assert failure.error_type == "UnguardedCall", failure
    assert "cannot be repeated when workflow code is replayed" in failure.message
    assert instead in failure.message
    assert "holdfast.unguarded()" in failure.message


@pytest.mark.parametrize("name", HARMLESS)
def test_what_does_no_harm_is_left_alone(name: str) -> None:
    async def flow() -> bool:
        HARMLESS[name]()
        return True

    assert GuardedDriver(flow).run().result is True


WORKS_ANYWHERE = [
    name for name in CALLS if name not in ("os.fork", "socket.create_connection", "multiprocessing.Process")
]


@pytest.mark.feature("F151")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WORKS_ANYWHERE)
def test_the_same_call_works_outside_of_workflow_code_and_where_guards_are_off(name: str) -> None:
    call, _ = CALLS[name]

    async def flow() -> bool:
        with holdfast.unguarded():
            _close(call())
        return True

    async def plain() -> None:
        _close(call())

    _close(call())
    asyncio.run(plain())
    assert GuardedDriver(flow).run().result is True
    assert Driver(flow).run().result is True


def _close(made: Any) -> None:
    if isinstance(made, int) and not isinstance(made, bool) and made > 2:
        return
    if hasattr(made, "close"):
        made.close()


@pytest.mark.feature("F151")
def test_an_unguarded_part_ends_with_its_block_and_is_its_tasks_own() -> None:
    async def flow() -> list[str]:
        async def other() -> str:
            await asyncio.sleep(0)
            return tried()

        task = asyncio.create_task(other())
        with holdfast.unguarded():
            await echo(1)
            inside = tried()
        return [inside, tried(), await task]

    def tried() -> str:
        try:
            time.time()
        except holdfast.UnguardedCall:
            return "refused"
        return "done"

    assert GuardedDriver(flow).run().result == ["done", "refused", "refused"]


def test_a_library_that_watches_the_garbage_collector_may_look_at_the_clock_in_the_middle_of_workflow_code() -> None:
    seen: list[float | Exception] = []

    def watch(_phase: str, _info: dict[str, int]) -> None:
        try:
            seen.append(time.perf_counter())
        except Exception as error:  # noqa: BLE001
            seen.append(error)

    async def flow() -> int:
        return gc.collect()

    gc.callbacks.append(watch)
    try:
        assert GuardedDriver(flow).run().result >= 0
    finally:
        gc.callbacks.remove(watch)
    assert seen
    assert not [one for one in seen if isinstance(one, Exception)]


@app.step
async def reads_the_clock() -> float:
    return time.time() + datetime.datetime.now().timestamp()


@app.workflow
async def asks_a_step() -> bool:
    return await reads_the_clock() > 0


@app.workflow
async def asks_the_clock() -> float:
    return time.time()


async def test_a_local_run_is_guarded_and_its_steps_are_not() -> None:
    assert (await run_local(asks_a_step)).value() is True
    failed = await run_local(asks_the_clock)
    assert failed.failure is not None
    assert "time.time() cannot be repeated" in failed.failure.message


def test_types_and_signatures_stay_what_they_were() -> None:
    import inspect

    assert type(datetime.datetime.now()) is datetime.datetime
    assert isinstance(renamed_datetime.now(UTC), datetime.datetime)

    class Own(datetime.datetime):
        pass

    assert type(Own.now()) is Own
    assert "args" not in inspect.signature(uuid.uuid1).parameters
    assert "file" in inspect.signature(open).parameters
