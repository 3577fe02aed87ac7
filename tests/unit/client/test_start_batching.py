"""Concurrent starts become few calls, and each caller still gets its own answer."""

import asyncio
from collections.abc import Sequence

import pytest

from holdfast.channel.run_records import StartedRun, StartOutcome, StartSpec
from holdfast.client.start_batches import StartBatcher
from holdfast.errors import CoordinatorUnavailable, HoldfastError, RunConflict
from holdfast.journal import Arguments, Payload


def spec(name: str, size_bytes: int = 10) -> StartSpec:
    return StartSpec(name, "order", Arguments((Payload(b"x" * size_bytes),)))


class Wire:
    """Answers each call when the test says so, as the coordinator would for starts named like the run."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self._open: list[asyncio.Future[None]] = []
        self._grown = asyncio.Condition()

    async def send(self, starts: Sequence[StartSpec]) -> list[StartOutcome]:
        answer = asyncio.get_running_loop().create_future()
        self._open.append(answer)
        async with self._grown:
            self.calls.append([start.start_id for start in starts])
            self._grown.notify_all()
        await answer
        return [
            RunConflict("id", start.start_id, difference="other arguments")
            if start.start_id.startswith("refused")
            else StartedRun(f"run of {start.start_id}")
            for start in starts
        ]

    async def until(self, count: int) -> None:
        async with self._grown:
            await self._grown.wait_for(lambda: len(self.calls) >= count)

    def answer(self, call: int, error: Exception | None = None) -> None:
        if error is not None:
            self._open[call].set_exception(error)
        else:
            self._open[call].set_result(None)


async def test_a_lone_start_goes_out_at_once() -> None:
    wire = Wire()
    future = StartBatcher(wire.send).start(spec("a"))
    await wire.until(1)
    assert wire.calls == [["a"]]
    wire.answer(0)
    assert (await future).run_id == "run of a"


async def test_starts_made_side_by_side_leave_together() -> None:
    wire = Wire()
    batcher = StartBatcher(wire.send)
    futures = [batcher.start(spec(str(number))) for number in range(5)]
    await wire.until(1)
    assert wire.calls == [["0", "1", "2", "3", "4"]]
    wire.answer(0)
    assert [one.run_id for one in await asyncio.gather(*futures)] == [f"run of {n}" for n in range(5)]


async def test_what_comes_while_calls_are_in_flight_becomes_one_call() -> None:
    wire = Wire()
    batcher = StartBatcher(wire.send, in_flight_max=2)
    first = batcher.start(spec("a"))
    await wire.until(1)
    second = batcher.start(spec("b"))
    await wire.until(2)
    later = [batcher.start(spec(name)) for name in "cde"]
    await asyncio.sleep(0)
    assert wire.calls == [["a"], ["b"]]
    wire.answer(1)
    await second
    await wire.until(3)
    assert wire.calls[2] == ["c", "d", "e"]
    wire.answer(0)
    wire.answer(2)
    await asyncio.gather(first, *later)


async def test_a_call_holds_no_more_than_the_limits() -> None:
    wire = Wire()
    batcher = StartBatcher(wire.send, in_flight_max=10, batch_max=3, batch_bytes_max=5_000)
    sizes = [1, 1, 1, 1, 9_000, 3_000, 3_000]
    futures = [batcher.start(spec(str(n), size)) for n, size in enumerate(sizes)]
    await wire.until(5)
    assert wire.calls == [["0", "1", "2"], ["3"], ["4"], ["5"], ["6"]]
    for call in range(5):
        wire.answer(call)
    await asyncio.gather(*futures)


async def test_a_refused_start_does_not_touch_its_neighbours() -> None:
    wire = Wire()
    batcher = StartBatcher(wire.send)
    good, bad = batcher.start(spec("a")), batcher.start(spec("refused"))
    await wire.until(1)
    wire.answer(0)
    assert (await good).run_id == "run of a"
    with pytest.raises(RunConflict):
        await bad


async def test_a_failed_call_fails_its_starts_and_the_next_ones_go_on() -> None:
    wire = Wire()
    batcher = StartBatcher(wire.send, in_flight_max=1)
    lost = batcher.start(spec("a"))
    await wire.until(1)
    next_one = batcher.start(spec("b"))
    wire.answer(0, CoordinatorUnavailable("here:1"))
    with pytest.raises(CoordinatorUnavailable):
        await lost
    await wire.until(2)
    wire.answer(1)
    assert (await next_one).run_id == "run of b"


async def test_a_start_that_was_cancelled_before_it_left_is_not_sent() -> None:
    wire = Wire()
    batcher = StartBatcher(wire.send, in_flight_max=1)
    first = batcher.start(spec("a"))
    await wire.until(1)
    unwanted, wanted = batcher.start(spec("b")), batcher.start(spec("c"))
    unwanted.cancel()
    wire.answer(0)
    await first
    await wire.until(2)
    assert wire.calls[1] == ["c"]
    wire.answer(1)
    await wanted


async def test_closing_ends_what_waits_and_what_is_in_flight() -> None:
    wire = Wire()
    batcher = StartBatcher(wire.send, in_flight_max=1)
    sent = batcher.start(spec("a"))
    await wire.until(1)
    waiting = batcher.start(spec("b"))
    batcher.close()
    for future in (sent, waiting):
        with pytest.raises(HoldfastError, match="closed"):
            await future
    assert wire.calls == [["a"]]


async def test_a_start_whose_call_has_not_begun_when_the_client_closes_fails_and_does_not_hang() -> None:
    wire = Wire()
    batcher = StartBatcher(wire.send)
    future = batcher.start(spec("a"))
    # Runs right after the flush, before the call that it has made gets its first turn.
    asyncio.get_running_loop().call_soon(batcher.close)
    with pytest.raises(HoldfastError, match="closed"):
        await asyncio.wait_for(future, 1)
    assert wire.calls == []
