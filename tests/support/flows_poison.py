"""Workflows and steps that would take their worker with them. Run by worker processes."""

import _thread
import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import holdfast
from holdfast import App, Context
from tests.support.ledger import note, until_let_go

app = App("poison")


@app.step
async def say(ledger: str, line: str) -> int:
    note(ledger, f"{line} {os.getpid()}")
    return os.getpid()


@app.workflow
async def innocent(ledger: str) -> int:
    return await say(ledger, "innocent")


@app.step
async def wait_to_be_let_go(ledger: str) -> int:
    note(ledger, f"waits {os.getpid()}")
    await until_let_go(ledger)
    return os.getpid()


@app.workflow
async def waits(ledger: str) -> int:
    return await wait_to_be_let_go(ledger)


# Workflow code


@app.workflow
async def raises(ledger: str, error: str) -> None:
    await say(ledger, "before")
    raise {"KeyboardInterrupt": KeyboardInterrupt, "SystemExit": SystemExit, "GeneratorExit": GeneratorExit}[error]


@app.workflow
async def spins(ledger: str) -> None:
    await say(ledger, "before")
    while True:  # noqa: ASYNC110 - a mistake that users make
        await asyncio.sleep(0)


@app.workflow
async def computes_for_ever(ledger: str) -> None:
    await say(ledger, "before")
    with holdfast.unguarded():
        note(ledger, f"computes {os.getpid()}")
    while True:
        with contextlib.suppress(Exception):
            pass


@app.workflow
async def blocks_in_c(ledger: str) -> None:
    with holdfast.unguarded():
        note(ledger, f"blocks {os.getpid()}")
        time.sleep(600)  # noqa: ASYNC251 - a mistake that users make


# Steps


@app.step(retries=0)
async def exits_in_a_task(how: str) -> None:
    async def leave() -> None:
        if how == "interrupt":
            raise KeyboardInterrupt
        sys.exit(3)

    if how == "callback":
        asyncio.get_running_loop().call_soon(sys.exit, 3)
        await asyncio.sleep(0.1)
    else:
        await asyncio.gather(leave())


@app.workflow
async def has_a_step_that_exits(how: str) -> None:
    await exits_in_a_task(how)


@app.step(retries=0)
async def compute_for_ever(ledger: str) -> None:
    note(ledger, f"computes {os.getpid()}")
    while True:
        pass


@app.workflow
async def has_a_step_that_computes(ledger: str) -> None:
    await compute_for_ever(ledger)


@app.step(recoveries=0)
async def sleep_in_a_thread(ledger: str) -> None:
    note(ledger, f"hangs {os.getpid()}")
    await asyncio.to_thread(time.sleep, 45)


@app.step(recoveries=0)
async def ignore_being_cancelled(ledger: str) -> None:
    note(ledger, f"hangs {os.getpid()}")
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(45)


@app.step(recoveries=0)
def hang(ledger: str) -> None:
    note(ledger, f"hangs {os.getpid()}")
    time.sleep(45)


@app.workflow
async def hangs(ledger: str, how: str) -> None:
    match how:
        case "to_thread":
            await sleep_in_a_thread(ledger)
        case "ignores cancel":
            await ignore_being_cancelled(ledger)
        case "plain":
            await hang(ledger)
        case "computes":
            with holdfast.unguarded():
                note(ledger, f"hangs {os.getpid()}")
            while True:
                pass
        case "interpreter":
            await hold_the_interpreter(ledger, 45)


@app.step
def hold_the_interpreter(ledger: str, seconds: int) -> int:
    """As an extension that computes for long without releasing the GIL."""
    note(ledger, f"hangs {os.getpid()}")
    ctypes.PyDLL(None).sleep(seconds)
    return os.getpid()


@app.workflow
async def holds_the_interpreter(ledger: str, seconds: int) -> int:
    return await hold_the_interpreter(ledger, seconds)


@app.step
def hold_it_again(ledger: str, first: int, then: int, ctx: Context[None]) -> int:
    """Its first attempt holds the interpreter for another time than those after it."""
    return hold_the_interpreter.function(ledger, first if ctx.attempt == 1 else then)


@app.workflow
async def holds_it_again(ledger: str, first: int, then: int) -> int:
    return await hold_it_again(ledger, first, then)


@app.step(timeout="300ms", retries=0)
def overstay(ledger: str) -> None:
    note(ledger, "overstays")
    time.sleep(45)


@app.workflow
async def overstays(ledger: str) -> None:
    await overstay(ledger)


def hold_a_lock(ledger: str) -> None:
    note(ledger, f"holds {os.getpid()}")
    threading.Event().wait(600)  # in C: no exception that is raised in this thread arrives before


@app.step(recoveries=0)
async def wait_in_c(ledger: str, *, in_a_task: bool) -> None:
    async def hold() -> None:
        hold_a_lock(ledger)

    if in_a_task:
        await asyncio.gather(asyncio.sleep(0), hold())
    hold_a_lock(ledger)


@app.workflow
async def has_a_step_that_waits_in_c(ledger: str, where: str) -> None:
    if where == "queued step":
        await wait_in_c.with_options(placement="queued")(ledger, in_a_task=False)
    else:
        await wait_in_c(ledger, in_a_task=where == "task of a step")


@app.workflow
async def waits_in_the_queue(ledger: str) -> int:
    return await wait_to_be_let_go.with_options(placement="queued")(ledger)


# What takes from everybody in a process what they share

ENDINGS: dict[str, Callable[[], Any]] = {
    "raise_signal": lambda: signal.raise_signal(signal.SIGINT),
    "kill": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "pthread_kill": lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM),
    "interrupt_main": lambda: _thread.interrupt_main(),
    "stop": lambda: asyncio.get_running_loop().stop(),
    "default executor": lambda: asyncio.get_running_loop().shutdown_default_executor(),
    "handler": lambda: asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, print),
    "ignore": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "default": lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL),
    "closerange": lambda: os.closerange(3, 1_000),
    "recursion": lambda: sys.setrecursionlimit(sys.getrecursionlimit() // 2),
}


@app.step(retries=0)
async def end_everything(how: str) -> None:
    ENDINGS[how]()
    await asyncio.sleep(0.1)


@app.step(retries=0)
def end_everything_from_a_thread(how: str, *, of_its_own: bool) -> None:
    if of_its_own:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(ENDINGS[how]).result()
    else:
        ENDINGS[how]()


@app.workflow
async def ends_everything(ledger: str, how: str, where: str) -> None:
    await say(ledger, "before")
    match where:
        case "workflow":
            while True:
                ENDINGS[how]()
                await holdfast.sleep("100ms")
        case "unguarded":
            with holdfast.unguarded():
                ENDINGS[how]()
        case "async step":
            await end_everything(how)
        case "plain step":
            await end_everything_from_a_thread(how, of_its_own=False)
        case "thread":
            await end_everything_from_a_thread(how, of_its_own=True)


@app.step(retries=0)
async def cancel_all_tasks() -> int:
    own = asyncio.create_task(asyncio.sleep(60))
    found = asyncio.all_tasks()
    for task in found:
        task.cancel()
    try:
        await own
    except asyncio.CancelledError:
        return len(found)
    raise AssertionError("its own task was not cancelled")


@app.workflow
async def cancels_all_tasks() -> int:
    return await cancel_all_tasks()


@app.step(retries=0)
async def set_an_alarm() -> None:
    """As packages for timeouts do it: the alarm goes off when the step has ended."""

    def go_off(*_: object) -> None:
        raise TimeoutError("the alarm of a step")

    signal.signal(signal.SIGALRM, go_off)
    signal.setitimer(signal.ITIMER_REAL, 0.2)


@app.workflow
async def sets_an_alarm() -> None:
    await set_an_alarm()
    await holdfast.sleep("500ms")


@app.step(retries=0)
async def close_the_streams() -> None:
    sys.stdout.close()
    sys.stderr.close()
    raise ValueError("it has closed the streams")


@app.workflow
async def closes_the_streams() -> None:
    await close_the_streams()
