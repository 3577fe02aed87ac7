"""The line of a cell writer: what a batch takes, what waits beside it, and the bytes that all of it is."""

import asyncio
from collections.abc import Iterator

import pytest

from holdfast_coordinator.domain.batch import BatchCommand
from holdfast_coordinator.domain.commands import SendSignal
from holdfast_coordinator.domain.mail import SignalMail
from holdfast_coordinator.engine.line import BATCH_BYTES_MAX, BATCH_COMMANDS_MAX, Line, Ticket, Waiting
from tests.support.engine_replicas import run_named, start

NOW = 100.0


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def waiting(loop: asyncio.AbstractEventLoop, command: BatchCommand) -> Waiting:
    return Waiting(command, Ticket(1, loop.create_future()), 0, NOW + 10, 5.0)


def signal(run: int = 1, number: int = 1, *, size: int = 0) -> SendSignal:
    return SendSignal(run_named(run), f"req-{number}", SignalMail("go", bytes(size)))


def line_of(loop: asyncio.AbstractEventLoop, *commands: BatchCommand) -> tuple[Line, list[Waiting]]:
    line, added = Line(), [waiting(loop, command) for command in commands]
    for one in added:
        line.add(one)
    return line, added


def test_a_batch_is_bounded_in_bytes_and_takes_what_is_larger_alone(loop: asyncio.AbstractEventLoop) -> None:
    third = BATCH_BYTES_MAX // 3 + 1_000
    line, (large, *small) = line_of(
        loop, signal(1, size=2 * BATCH_BYTES_MAX), *(signal(number, size=third) for number in range(2, 7))
    )
    batches = []
    while len(line):
        batches.append(line.take(NOW))
    assert batches == [[large], small[:2], small[2:4], small[4:]]
    assert all(sum(one.bytes for one in batch) <= BATCH_BYTES_MAX for batch in batches[1:])


def test_a_batch_is_bounded_in_commands(loop: asyncio.AbstractEventLoop) -> None:
    line, added = line_of(loop, *(signal(number) for number in range(BATCH_COMMANDS_MAX + 1)))
    assert line.take(NOW) == added[:-1]
    assert line.take(NOW) == added[-1:]


def test_two_starts_with_one_key_are_in_two_batches(loop: asyncio.AbstractEventLoop) -> None:
    line, (first, second) = line_of(loop, start(1, id="order-7"), start(2, id="order-7"))
    assert line.take(NOW) == [first]
    assert line.take(NOW) == [second]


def test_two_starts_with_one_key_that_was_locked_are_tried_in_two_batches(loop: asyncio.AbstractEventLoop) -> None:
    line, added = line_of(loop, start(1, id="order-7"), start(2, id="order-7"), start(3, id="order-8"))
    first, second, other = added
    for one in added:
        line.take(NOW)
        line.park(one, NOW, with_run=False)
    batch = line.take(NOW + 1)
    assert batch == [first, other]
    line.settle(batch)
    assert line.take(NOW + 1) == [second]


def test_what_is_taken_or_dropped_is_no_more_of_the_bytes_and_what_is_parked_is(
    loop: asyncio.AbstractEventLoop,
) -> None:
    line, (first, second, third) = line_of(loop, *(signal(number, size=1_000) for number in (1, 2, 3)))
    assert line.bytes == first.bytes + second.bytes + third.bytes
    batch = line.take(NOW)
    assert line.bytes == 0
    line.park(batch[0], NOW, with_run=True)
    line.settle(batch)
    assert line.bytes == first.bytes
    assert line.drop(lambda one: one is first) == [first]
    assert line.bytes == 0


def test_what_comes_for_a_locked_run_waits_behind_it_and_others_go_on(loop: asyncio.AbstractEventLoop) -> None:
    line, (first,) = line_of(loop, signal(1, 1))
    line.park(line.take(NOW)[0], NOW, with_run=True)
    behind, other = waiting(loop, signal(1, 2)), waiting(loop, signal(2))
    line.add(behind)
    line.add(other)
    assert line.take(NOW) == [other]
    batch = line.take(NOW + 1)
    assert batch == [first]
    line.settle(batch)
    assert line.take(NOW + 1) == [behind]
