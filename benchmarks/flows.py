"""The workflows that are measured: steps that do nothing, with small payloads. Loaded by the worker processes.

Nothing here may do work of its own: what is measured is the engine.
"""

import asyncio
import os
import time
from datetime import datetime, timedelta

import holdfast
from holdfast import App

PAYLOAD = "holdfast benchmark payload ".ljust(150, ".")
"""150 characters: what every step is given and returns."""

STEPS_PER_RUN = 10

NOTED_STEPS = 3

FAN_OUT_QUEUE = "fan-out"
"""The queue of a single worker."""

app = App("bench")


@app.step
async def echo(payload: str) -> str:
    """Does nothing."""
    return payload


@app.step(placement="queued")
async def echo_in_queue(payload: str) -> str:
    """Does nothing, through the queue."""
    return payload


@app.step
async def clocked(payload: str) -> int:
    """The machine's monotonic clock in nanoseconds: the same in all processes."""
    return time.monotonic_ns()


@app.step(placement="queued")
async def clocked_in_queue(payload: str) -> int:
    """The same, through the queue."""
    return time.monotonic_ns()


@app.step
async def hold(payload: str) -> None:
    """Ends when it is cancelled."""
    await asyncio.Event().wait()


@app.step
async def note(ledger: str, line: str) -> str:
    """Writes a line to a file: how often it ran is seen there."""
    return _noted(ledger, line)


@app.step(placement="queued")
async def note_in_queue(ledger: str, line: str) -> str:
    """The same, through the queue."""
    return _noted(ledger, line)


def _noted(ledger: str, line: str) -> str:
    # One call with O_APPEND: lines of several processes do not mix.
    descriptor = os.open(ledger, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)
    return line


@app.step
def process(seconds: float) -> int:
    """Holds a slot for a while and says in which process; tells when all workers take part."""
    time.sleep(seconds)
    return os.getpid()


@app.workflow
async def one_step(payload: str) -> str:
    """B1."""
    return await echo(payload)


@app.workflow
async def ten_steps(payload: str) -> str:
    """B2: ten steps, one after the other."""
    for _ in range(STEPS_PER_RUN):
        payload = await echo(payload)
    return payload


@app.workflow
async def ten_queued_steps(payload: str) -> str:
    """B3: the same, each through the queue."""
    for _ in range(STEPS_PER_RUN):
        payload = await echo_in_queue(payload)
    return payload


@app.workflow
async def fan_out(count: int, payload: str) -> int:
    """B5: `count` steps at once; how many results there are."""
    return len(await asyncio.gather(*(echo(payload) for _ in range(count))))


@app.workflow
async def clocked_steps(count: int, payload: str) -> list[int]:
    """B4: when each of `count` steps ran, one after the other."""
    return [await clocked(payload) for _ in range(count)]


@app.workflow
async def clocked_queued_steps(count: int, payload: str) -> list[int]:
    """B4: the same for queued steps."""
    return [await clocked_in_queue(payload) for _ in range(count)]


@app.workflow
async def sleeps_until(moment: datetime) -> None:
    """B6: one of many that are due at once."""
    await holdfast.sleep(moment)


@app.workflow
async def timer_between_clocks(payload: str) -> tuple[int, int, float]:
    """B6: the clock before a timer and after it, and for how many milliseconds it was set."""
    # Different ones: at a distance of whole periods of anything they would say nothing of the others.
    span_ms = holdfast.random().uniform(50.0, 150.0)
    asked_at = await clocked(payload)
    await holdfast.sleep(timedelta(milliseconds=span_ms))
    return asked_at, await clocked(payload), span_ms


@app.workflow
async def waits() -> str:
    """B9: suspended until it gets a signal."""
    return await holdfast.receive("go", str)


@app.workflow
async def three_noted_steps(ledger: str, name: str) -> None:
    """B14: inline, queued and inline, with a timer between them."""
    await note(ledger, f"first {name}")
    await holdfast.sleep(timedelta(milliseconds=20))
    await note_in_queue(ledger, f"second {name}")
    await note(ledger, f"third {name}")


@app.workflow
async def answers(count: int, payload: str) -> list[int]:
    """B15: when it had each of `count` signals. A step keeps its lease for as long."""
    holding = asyncio.ensure_future(hold(payload))
    clocks = []
    for _ in range(count):
        await holdfast.receive("ping")
        clocks.append(await clocked(payload))
    holding.cancel()
    return clocks


@app.workflow
async def steps_in_turn(count: int, payload: str) -> str:
    """B10: a long journal."""
    for _ in range(count):
        payload = await echo(payload)
    return payload


@app.workflow
async def who(seconds: float) -> int:
    """Which worker process runs it."""
    return await process(seconds)
