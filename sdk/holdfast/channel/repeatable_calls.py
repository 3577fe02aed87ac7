"""Makes calls that may be repeated: every mutation carries an id that its caller chose, so a repeat is safe.

What the calls say is not its matter.
"""

import asyncio
import random
from collections.abc import Awaitable
from time import monotonic
from typing import Protocol, TypeVar

import grpc

from holdfast.channel.cancellation import answer_of, is_task_cancelled
from holdfast.channel.refusals import error_of_call, is_repeatable, readable
from holdfast.errors import CoordinatorOverloaded, CoordinatorUnavailable, HoldfastError

ATTEMPT_SECONDS = 10.0
RETRY_FOR_SECONDS = 10.0
FIRST_WAIT_SECONDS = 0.05
LONGEST_WAIT_SECONDS = 1.0

Request = TypeVar("Request", contravariant=True)
Response = TypeVar("Response", covariant=True)


class ConnectionClosed(HoldfastError):
    """The connection was closed on this side, before or during the call."""

    def __init__(self, address: str) -> None:
        super().__init__(f"the connection to {address} was closed on this side")
        self.address = address


class UnaryMethod(Protocol[Request, Response]):
    """One rpc of a stub."""

    def __call__(self, request: Request, *, timeout: float | None = None) -> Awaitable[Response]: ...


async def call(
    method: UnaryMethod[Request, Response],
    request: Request,
    *,
    address: object,
    attempt_seconds: float = ATTEMPT_SECONDS,
    retry_for: float | None = RETRY_FOR_SECONDS,
) -> Response:
    """Calls until there is an answer, with growing waits, for `retry_for` seconds (None: without end).

    attempt_seconds: the limit for one attempt; so for the only one, where `retry_for` is 0. Raises
    CoordinatorUnavailable when the time has passed, ConnectionClosed and the typed error of a refusal at once.
    """
    give_up_at = None if retry_for is None else monotonic() + retry_for
    retry = 0
    said: HoldfastError | None = None
    while True:
        seconds = attempt_seconds
        if give_up_at is not None and retry_for:
            seconds = max(min(seconds, give_up_at - monotonic()), 0.001)
        try:
            return readable(await answer_of(method(request, timeout=seconds)))
        except grpc.aio.AioRpcError as failed:
            error = error_of_call(failed, address=str(address))
            if failed.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                # The last attempt may have had no time to bring the reason that one before it has brought.
                error = said or error
            elif isinstance(error, CoordinatorUnavailable) and error.is_reached:
                said = error
            if not _may_be_repeated(error, failed.code()):
                raise error from None
            jitter = random.random()
            wait = repeat_wait(retry, jitter=jitter)
            if isinstance(error, CoordinatorOverloaded):
                # As it asked, and not all at once.
                wait = max(wait, error.retry_after_seconds * (1 + jitter / 2))
            if give_up_at is not None and monotonic() + wait >= give_up_at:
                raise error from None
        except grpc.aio.UsageError as closed:
            raise ConnectionClosed(str(address)) from closed
        except asyncio.CancelledError:
            # A channel that is closed cancels its calls. The task that waits for this one was not cancelled, and
            # to let it end as cancelled would hide from its owner that there is no answer.
            if is_task_cancelled():
                raise
            raise ConnectionClosed(str(address)) from None
        retry += 1
        await asyncio.sleep(wait)


def _may_be_repeated(error: HoldfastError, code: grpc.StatusCode) -> bool:
    return isinstance(error, CoordinatorOverloaded) or (
        isinstance(error, CoordinatorUnavailable) and is_repeatable(code)
    )


def repeat_wait(retry: int, *, jitter: float) -> float:
    """Seconds before repeat `retry` (from 0): doubling up to one second, the upper half of it random."""
    longest: float = min(FIRST_WAIT_SECONDS * 2 ** min(retry, 10), LONGEST_WAIT_SECONDS)
    return longest * (0.5 + jitter / 2)
