"""A call that got no answer is repeated; a refusal is final; giving up is a typed error."""

import asyncio
import itertools
from time import monotonic

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc.aio import AioRpcError, Metadata
from hypothesis import given
from hypothesis import strategies as st

from holdfast.channel import repeatable_calls
from holdfast.channel.refusals import DETAILS_KEY, DOMAIN
from holdfast.channel.repeatable_calls import ConnectionClosed, call, repeat_wait
from holdfast.errors import CoordinatorUnavailable, Refused


def failed(code: grpc.StatusCode) -> AioRpcError:
    return AioRpcError(code, Metadata(), Metadata(), details=code.name.lower())


class Method:
    """Fails with the given codes, then answers; remembers the requests."""

    def __init__(self, *codes: grpc.StatusCode) -> None:
        self._codes = iter(codes)
        self.requests: list[str] = []

    async def __call__(self, request: str, *, timeout: float | None = None) -> str:
        assert timeout is not None
        assert timeout > 0
        self.requests.append(request)
        code = next(self._codes, None)
        if code is not None:
            raise failed(code)
        return f"answer to {request}"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeatable_calls, "FIRST_WAIT_SECONDS", 0.001)


async def test_a_call_without_an_answer_is_repeated_as_it_was() -> None:
    method = Method(grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
    assert await call(method, "start a", address="here:1") == "answer to start a"
    assert method.requests == ["start a"] * 4


async def test_a_call_that_an_overloaded_coordinator_refused_is_repeated_when_it_said() -> None:
    called_at: list[float] = []

    async def start(request: str, *, timeout: float | None = None) -> str:
        called_at.append(monotonic())
        if len(called_at) > 1:
            return f"answer to {request}"
        info = error_details_pb2.ErrorInfo(
            reason="OVERLOADED", domain=DOMAIN, metadata={"retry_after_seconds": "0.2", "detail": "the line is long"}
        )
        status = status_pb2.Status()
        status.details.add().Pack(info)
        code = grpc.StatusCode.RESOURCE_EXHAUSTED
        raise AioRpcError(code, Metadata(), Metadata((DETAILS_KEY, status.SerializeToString())))

    assert await call(start, "start a", address="here:1") == "answer to start a"
    assert called_at[1] - called_at[0] >= 0.2


async def test_a_refusal_is_not_repeated() -> None:
    method = Method(grpc.StatusCode.INVALID_ARGUMENT)
    with pytest.raises(Refused):
        await call(method, "start a", address="here:1")
    assert len(method.requests) == 1


async def test_giving_up_names_the_address_and_the_last_reason() -> None:
    method = Method(*itertools.repeat(grpc.StatusCode.UNAVAILABLE, 1000))
    with pytest.raises(CoordinatorUnavailable, match=r"here:1.*unavailable"):
        await call(method, "start a", address="here:1", retry_for=0.02)
    assert len(method.requests) > 1


async def test_a_reason_is_not_lost_because_the_last_attempt_had_no_time_to_bring_one() -> None:
    calls = itertools.count(1)

    async def start(request: str, *, timeout: float | None = None) -> str:
        if next(calls) > 1:
            raise failed(grpc.StatusCode.DEADLINE_EXCEEDED)
        info = error_details_pb2.ErrorInfo(reason="UNAVAILABLE", domain=DOMAIN, metadata={"detail": "its database"})
        status = status_pb2.Status()
        status.details.add().Pack(info)
        trailing = Metadata((DETAILS_KEY, status.SerializeToString()))
        raise AioRpcError(grpc.StatusCode.UNAVAILABLE, Metadata(), trailing)

    with pytest.raises(CoordinatorUnavailable, match=r"\(its database\)"):
        await call(start, "start a", address="here:1", retry_for=0.3)
    assert next(calls) > 2


async def test_no_time_for_repeats_still_means_one_attempt() -> None:
    method = Method()
    assert await call(method, "start a", address="here:1", retry_for=0) == "answer to start a"


async def test_a_call_that_is_not_to_be_repeated_has_as_long_for_its_answer_as_any_attempt() -> None:
    limits: list[float | None] = []

    async def start(request: str, *, timeout: float | None = None) -> str:
        limits.append(timeout)
        raise failed(grpc.StatusCode.DEADLINE_EXCEEDED)

    with pytest.raises(CoordinatorUnavailable):
        await call(start, "start a", address="here:1", attempt_seconds=7, retry_for=0)
    assert limits == [7]


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_waits_grow_and_stay_within_a_second(retry: int, jitter: float) -> None:
    assert 0 < repeat_wait(retry, jitter=jitter) <= 1.0
    assert repeat_wait(retry, jitter=jitter) <= 2 * repeat_wait(retry + 1, jitter=0)


async def test_a_call_that_ends_with_its_channel_is_an_error_and_no_cancellation_of_the_task() -> None:
    async def cancelled_by_grpc(_: str, *, timeout: float | None = None) -> str:
        raise asyncio.CancelledError

    with pytest.raises(ConnectionClosed, match="here:1 was closed on this side"):
        await call(cancelled_by_grpc, "start a", address="here:1")


async def test_a_task_that_is_cancelled_during_a_call_ends_as_cancelled() -> None:
    async def endless(_: str, *, timeout: float | None = None) -> str:
        await asyncio.Event().wait()
        return ""

    task = asyncio.create_task(call(endless, "start a", address="here:1"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_an_answer_that_cannot_be_read_is_refused_with_a_sentence() -> None:
    async def start(request: str, *, timeout: float | None = None) -> None:
        """gRPC gives None for bytes that are no message."""

    with pytest.raises(Refused, match="cannot be read"):
        await call(start, "start a", address="here:1")
