"""The workflow that runs a program, and the step that all of its effects are. Run by worker processes."""

import asyncio
import contextlib
import ctypes
import os
import secrets
import select
import signal
from pathlib import Path
from typing import Any, Literal

from pydantic import JsonValue

import holdfast
from holdfast import App, Context, FatalError, RunFailed, StepFailed, constant
from tests.chaos import ledger
from tests.chaos.programs import (
    Child,
    Deadline,
    Effect,
    Guarded,
    Program,
    Receive,
    Several,
    Sleep,
    payload_of,
    result_of,
)

app = App("chaos", backoff=constant("20ms"), retries=12, recoveries=1_000)

BLOCKED_SECONDS = 3.0


class NotYet(Exception):
    """An attempt that fails as its program says."""


@app.step
async def effect(what: Effect, ctx: Context[None]) -> str:
    """An effect on the event loop."""
    token = _begin(what, ctx)
    with _end(what, ctx, token):
        await asyncio.sleep(what.takes_ms / 1_000)
    return _result(what, token)


@app.step
def plain_effect(what: Effect, ctx: Context[None]) -> str:
    """An effect in a thread."""
    token = _begin(what, ctx)
    with _end(what, ctx, token):
        select.select([], [], [], what.takes_ms / 1_000)  # time.sleep fails where libfaketime is loaded
    return _result(what, token)


STEPS: dict[str, Any] = {
    "inline": effect,
    "plain": plain_effect,
    "queued": effect.with_options(placement="queued"),
}


@app.workflow
async def run_program(program: Program) -> JsonValue:
    """Runs a program; see programs.py."""
    return await _run(program)


async def _run(program: Program) -> JsonValue:
    match program:
        case Effect():
            text = await STEPS[program.how].with_options(step_id=program.name)(program)
            return f"{result_of(program)}@{text[: ledger.TOKEN_LENGTH]}"
        case Sleep():
            await holdfast.sleep(program.ms / 1_000)
            return "slept"
        case Receive():
            received = await holdfast.receive(program.name, str)
            assert received == payload_of(program.name)
            return received
        case Deadline():
            try:
                return await holdfast.receive("never sent", str, timeout=program.ms / 1_000)
            except TimeoutError:
                return "timed out"
        case Child():
            return await run_program(program.body)
        case Guarded():
            return await _guarded(program)
        case Several():
            return await _several(program)


async def _several(program: Several) -> JsonValue:
    if program.how == "sequence":
        return [await _run(part) for part in program.parts]
    if program.how == "gather":
        return list(await asyncio.gather(*map(_run, program.parts)))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_run(part)) for part in program.parts]
    return [task.result() for task in tasks]


async def _guarded(program: Guarded) -> JsonValue:
    try:
        return await _run(program.body)
    except (StepFailed, RunFailed):
        return ["undone", *await _undo(program)]
    except asyncio.CancelledError:
        await holdfast.shield(_undo(program))
        raise


async def _undo(program: Guarded) -> list[JsonValue]:
    return [await _run(one) for one in reversed(program.undo)]


# What an effect does, and notes


def repair_file(directory: Path, idempotency_key: str) -> Path:
    """The file whose presence repairs a broken step, in its run and in the retries of that."""
    return directory / f"repaired-{idempotency_key.replace('/', '-')}"


def _begin(what: Effect, ctx: Context[None]) -> str:
    token = secrets.token_hex(ledger.TOKEN_LENGTH // 2)
    _note("begins", what, ctx, token)
    if what.does:
        _do(what, ctx)
    return token


@contextlib.contextmanager
def _end(what: Effect, ctx: Context[None], token: str) -> Any:
    """Notes how the execution ended, and ends it as the program says."""
    ended: Literal["ends", "raises"] = "raises"
    try:
        yield
        if what.fatal or (what.broken and not repair_file(_directory(), ctx.idempotency_key).exists()):
            raise FatalError(f"{what.name} fails for good")
        if ctx.attempt <= what.fails:
            raise NotYet(f"attempt {ctx.attempt} of {what.name} fails")
        ended = "ends"
    finally:
        _note(ended, what, ctx, token)


def _note(moment: Literal["begins", "ends", "raises"], what: Effect, ctx: Context[None], token: str) -> None:
    at = ledger.boottime()
    ledger.write(ledger.Line(moment, ctx.run_id, what.name, ctx.attempt, ctx.idempotency_key, token, os.getpid(), at))


def _do(what: Effect, ctx: Context[None]) -> None:
    """Harms the worker, at the first execution only."""
    done = _directory() / f"{what.does}-{ctx.run_id}-{what.name}"
    with contextlib.suppress(FileExistsError):
        done.touch(exist_ok=False)
        match what.does:
            case "kills":
                os.kill(os.getpid(), signal.SIGKILL)
            case "exits":
                os._exit(3)
            case "segfaults":
                ctypes.string_at(0)
            case _:
                select.select([], [], [], BLOCKED_SECONDS)


def _directory() -> Path:
    return Path(os.environ[ledger.ENVIRONMENT]).parent


def _result(what: Effect, token: str) -> str:
    return token + "x" * max(what.size - ledger.TOKEN_LENGTH, 0)
