"""The workflows of an hour of load: each a few steps, with everything that leaves rows or memory behind while it runs.

With HOLDFAST_ENDURANCE_LEAK a step keeps as many bytes for ever: that is how one sees that growing memory is found.
"""

import os
from datetime import timedelta

import holdfast
from holdfast import App, Context, FatalError, constant

LEAK = "HOLDFAST_ENDURANCE_LEAK"
PAYLOAD = "holdfast endurance payload ".ljust(150, ".")
SLEEP = timedelta(seconds=1.5)
LATER = timedelta(seconds=1.2)
"""A wait of more than a second does not stay in the worker: it is an alarm."""

app = App("endurance")
_leaked: list[bytes] = []


class NotYet(Exception):
    """What a first attempt fails with."""


@app.step
async def echo(payload: str) -> str:
    """Returns what it is given."""
    if size := int(os.environ.get(LEAK, "0")):
        _leaked.append(os.urandom(size))
    return payload


@app.step(placement="queued")
async def echo_in_queue(payload: str) -> str:
    """The same, through the queue."""
    return payload


@app.step(retries=1, backoff=constant("20ms"))
async def echo_at_last(payload: str, ctx: Context[None]) -> str:
    """Its first attempt fails; the second follows in the same worker."""
    return _at_last(payload, ctx)


@app.step(retries=1, backoff=constant(LATER))
async def echo_later(payload: str, ctx: Context[None]) -> str:
    """Its first attempt fails; the second is an alarm."""
    return _at_last(payload, ctx)


@app.step(retries=0)
async def refuse(payload: str) -> str:
    """Fails for good. In few words: workers log them."""
    raise FatalError("refused")


def _at_last(payload: str, ctx: Context[None]) -> str:
    if ctx.attempt == 1:
        raise NotYet("not yet")
    return payload


@app.workflow
async def one_step(payload: str) -> str:
    return await echo(payload)


@app.workflow
async def queued_step(payload: str) -> str:
    return await echo_in_queue(payload)


@app.workflow
async def sleeps(payload: str) -> str:
    await holdfast.sleep(SLEEP)
    return await echo(payload)


@app.workflow
async def receives(payload: str) -> str:
    return await echo(await holdfast.receive("word", str))


@app.workflow
async def has_a_child(payload: str) -> str:
    return await one_step(payload)


@app.workflow
async def retries_soon(payload: str) -> str:
    return await echo_at_last(payload)


@app.workflow
async def retries_later(payload: str) -> str:
    return await echo_later(payload)


@app.workflow
async def fails(payload: str) -> str:
    return await refuse(payload)


@app.workflow
async def is_cancelled(payload: str) -> str:
    await holdfast.sleep(timedelta(days=1))
    return payload
