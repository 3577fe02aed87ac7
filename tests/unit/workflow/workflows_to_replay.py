"""Workflows that use everything asyncio can combine, for the tests of replay. Each takes no argument."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

from workflow_driver import a_step, runtime

from holdfast.authoring.definitions import WorkflowDefinition
from holdfast.authoring.signatures import CallSignature
from holdfast.authoring.spans import span
from holdfast.errors import StepFailed
from holdfast.journal import MailBody, Payload, Signal


@a_step
def double(x: int) -> int:
    return 2 * x


@a_step
def explode(x: int) -> int:
    raise ValueError(f"no {x}")


def child(x: int) -> int:
    """What the driver answers for a child run."""
    return x + 100


async def _child(x: int) -> int:
    return child(x)


_CHILD = WorkflowDefinition("child", _child, CallSignature.of(_child))


def sleep(seconds: float, name: str = "") -> Awaitable[None]:
    return runtime().sleep(timedelta(seconds=seconds), None, name)


def receive(name: str, timeout: float | None = None) -> Awaitable[Any]:
    return runtime().receive(name, int, None if timeout is None else timedelta(seconds=timeout))


async def sequence() -> list[int]:
    return [await double(x) for x in range(5)]


async def branches() -> str:
    first = await double(3)
    if first > 4:
        try:
            await explode(first)
        except StepFailed as failed:
            return f"{failed.error_type}: {await double(10)}"
    return "unreachable"


async def gathered() -> list[int]:
    return list(await asyncio.gather(*(double(x) for x in range(6))))


async def gathered_with_failures() -> list[str]:
    found = await asyncio.gather(double(1), explode(2), double(3), explode(4), return_exceptions=True)
    return [type(one).__name__ for one in found]


async def gathered_until_a_failure() -> str:
    try:
        await asyncio.gather(_twice(1), explode(2), _twice(3))
    except StepFailed as failed:
        return failed.message
    return "unreachable"


async def _twice(x: int) -> int:
    found: int = await double(await double(x))
    return found


async def waited() -> list[int]:
    pending: set[Any] = {asyncio.create_task(_twice(x), name=f"t{x}") for x in range(8)}
    found = []
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        found += [await double(task.result()) for task in done]
        if len(found) == 4:
            for task in pending:
                task.cancel()
            break
    return found


async def waited_on_gathers() -> int:
    groups = [asyncio.gather(_twice(x), _twice(x + 1)) for x in range(5)]
    done, pending = await asyncio.wait(groups, return_when=asyncio.FIRST_COMPLETED)
    total = 0
    for group in done:
        total += await double(sum(group.result()))
    for group in pending:
        group.cancel()
        await double(1)
    return total


async def grouped() -> str:
    failures = 0
    try:
        async with asyncio.TaskGroup() as group:
            for x in range(6):
                group.create_task(_twice(x))
            group.create_task(_explode_later())
            group.create_task(double(7))
    except* StepFailed as failed:
        failures = len(failed.exceptions)
    return f"{failures} {await double(failures)}"


async def _explode_later() -> None:
    await sleep(1)
    await explode(0)


async def timed() -> list[str]:
    found = []
    for x in range(4):
        try:
            async with asyncio.timeout(5):
                await double(x)
                await sleep(3)
            found.append("done")
        except TimeoutError:
            found.append("late")
        try:
            found.append(str(await asyncio.wait_for(_twice(x), 2)))
        except TimeoutError:
            found.append("late")
    return found


async def sleeping() -> list[int]:
    async def after(seconds: float, x: int) -> int:
        await asyncio.sleep(seconds)
        await asyncio.sleep(0)
        doubled: int = await double(x)
        return doubled

    found = []
    for next_one in asyncio.as_completed([asyncio.create_task(after(x / 10, x)) for x in range(5)]):
        found.append(await next_one)  # noqa: PERF401
    return found


async def queued() -> list[int]:
    queue: asyncio.Queue[int] = asyncio.Queue(maxsize=2)
    found: list[int] = []

    async def produce(base: int) -> None:
        for x in range(3):
            await queue.put(await double(base + x))

    async def consume() -> None:
        while True:
            found.append(await double(await queue.get()))
            queue.task_done()

    consumers = [asyncio.create_task(consume()) for _ in range(2)]
    await asyncio.gather(produce(0), produce(10), produce(20))
    await queue.join()
    for consumer in consumers:
        consumer.cancel()
    await asyncio.gather(*consumers, return_exceptions=True)
    return found


async def synchronised() -> list[int]:
    lock, room, event, changed = asyncio.Lock(), asyncio.Semaphore(2), asyncio.Event(), asyncio.Condition()
    found: list[int] = []

    async def work(x: int) -> None:
        await event.wait()
        async with room:
            value = await double(x)
        async with lock:
            found.append(await double(value))
        async with changed:
            changed.notify_all()

    workers = [asyncio.create_task(work(x)) for x in range(5)]
    await double(0)
    event.set()
    async with changed:
        await changed.wait_for(lambda: len(found) >= 4)
    await asyncio.wait(workers)
    return found


async def streamed() -> int:
    async def numbers() -> AsyncIterator[int]:
        try:
            for x in range(10):
                yield await double(x)
        finally:
            asyncio.get_running_loop().call_soon(lambda: None)

    total = 0
    async for number in numbers():
        total += number
        if number > 6:
            break
    last: int = await double(1)
    return total + last


async def signalled() -> list[Any]:
    found: list[Any] = [await receive("go")]
    try:
        found.append(await receive("more", timeout=2))
    except TimeoutError:
        found.append("none")
    first, *_ = await asyncio.gather(receive("go"), double(1), sleep(1, "nap"))
    return [*found, first]


async def shielded() -> str:
    inner = asyncio.ensure_future(_twice(1))
    try:
        async with asyncio.timeout(1):
            await asyncio.shield(inner)
    except TimeoutError:
        return f"late {await inner}"
    return "in time"


async def cancellable() -> str:
    try:
        await asyncio.gather(_twice(1), sleep(50), receive("go"))
    except asyncio.CancelledError:
        await double(5)
        raise
    return "done"


async def parent() -> list[int]:
    return list(await asyncio.gather(*(runtime().call_child(_CHILD, (x,), {}) for x in range(3))))


async def by_chance() -> list[int]:
    found = []
    for _ in range(4):
        if runtime().random.random() < 0.5:
            found.append(await double(runtime().random.randrange(100)))
        else:
            await sleep(runtime().random.random())
            found.append(runtime().uuid4().int % 7 + runtime().now().second + int(asyncio.get_running_loop().time()))
    return found


async def spanned() -> int:
    async def part(x: int) -> int:
        with span(f"part {x}"):
            await sleep(x)
            return await _twice(x)

    async def left_open() -> None:
        with span("left open"):
            await asyncio.Event().wait()

    forgotten = asyncio.create_task(left_open())
    with span("all"):
        total = sum(await asyncio.gather(*(part(x) for x in range(4))))
        with contextlib.suppress(StepFailed), span("fails"):
            await explode(total)
        async with span("last"):
            later = asyncio.create_task(part(5))
    with contextlib.suppress(TimeoutError), span("late"):
        await asyncio.wait_for(part(6), 3)
    assert not forgotten.done()
    return total + await later


def go(number: int) -> Signal:
    return Signal("go", Payload(str(number).encode()))


_MAIL: dict[Callable[..., Any], list[MailBody]] = {signalled: [go(1), Signal("more", Payload(b"2")), go(3)]}

ALL: list[Callable[..., Any]] = [
    sequence,
    branches,
    gathered,
    gathered_with_failures,
    gathered_until_a_failure,
    waited,
    waited_on_gathers,
    grouped,
    timed,
    sleeping,
    queued,
    synchronised,
    streamed,
    signalled,
    shielded,
    parent,
    by_chance,
    spanned,
]


def mail_for(function: Callable[..., Any]) -> list[MailBody]:
    return _MAIL.get(function, [])
