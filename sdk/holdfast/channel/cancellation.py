"""Calls that are cancelled: whose cancellation it is, and how a call is given up so that it leaves nothing behind."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")

_GIVEN_UP = "given up by its caller"


def is_task_cancelled() -> bool:
    """True when the running task itself was cancelled. If not, its owner must not take the call's end for that.

    gRPC raises a CancelledError too, for a call whose connection was closed on this side.
    """
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


async def answer_of(call: Awaitable[T]) -> T:
    """What a unary call of grpc.aio brings. In place of `await call`, which loses memory when it is cancelled.

    grpc.aio frees what it has allocated for a call in the task that waits for gRPC's core, and never when that task is
    cancelled (grpc#43360): 1 KB, and up to 20 where the core's threads are still at it or an answer has just come. So
    that task is left alone here, and the core is told to end the call, upon which the task ends by itself. What has not
    the attributes that this needs, which are grpc's own, is awaited as ever.
    """
    intercepting = getattr(call, "_interceptors_task", None)
    # It has two names now: one that has interceptors cancels the call inside when nothing refers to it any more.
    inner: Any = call if intercepting is None else await intercepting
    answering = getattr(inner, "_call_response", None)
    if answering is not None:
        try:
            await asyncio.shield(answering)
        except asyncio.CancelledError:
            give_up(inner)
            raise
    answer: T = await inner
    return answer


def give_up(call: Any) -> None:
    """Ends a call of grpc.aio that nobody waits for; see `answer_of`."""
    if hasattr(call, "_call_response") and hasattr(call, "_cancel"):
        call._cancel(_GIVEN_UP)
    else:
        call.cancel()
