"""Workflows that use everything asyncio can combine, for the tests of replay. Each takes no argument."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

from holdfast.authoring.maps import results_of_each
from holdfast.authoring.primitives import note, on_signal, wait_until
from holdfast.authoring.sagas import Saga
from holdfast.authoring.span import span
from holdfast.definitions.definitions import WorkflowDefinition
from holdfast.definitions.signatures import CallSignature
from holdfast.errors import StepFailed
from holdfast.graphs import Graph
from holdfast.journal import MailBody, Payload, Signal
from tests.support import plain_workflows_to_replay as plain
from tests.support.workflow_driver import a_step, runtime


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


async def timed_beside_others() -> list[str]:
    """A wait_for beside a step: which of them asks first differed between 3.11 and 3.12."""
    timed = asyncio.wait_for(_twice(1), 60), double(2), asyncio.wait_for(double(3), 60)
    return [repr(found) for found in await asyncio.gather(*timed, return_exceptions=True)]


async def timed_out_at_once() -> list[str]:
    found = []
    for timeout in (0, 0.5, None):
        try:
            found.append(str(await asyncio.wait_for(_twice(1), timeout)))
        except TimeoutError:
            found.append(f"late {await double(1)}")
    return found


async def completed() -> list[int]:
    found = [await double(await one) for one in asyncio.as_completed([_twice(x) for x in range(5)])]
    async for task in asyncio.as_completed([_twice(x) for x in range(5)]):
        found.append(await double(task.result()))  # noqa: PERF401
    try:
        for one in asyncio.as_completed([double(1), asyncio.Event().wait()], timeout=3):
            found.append(int(await one))  # noqa: PERF401
    except TimeoutError:
        found.append(await double(-1))
    return found


async def waited_for_a_failure() -> list[int]:
    tasks = [asyncio.create_task(_twice(x)) for x in range(4)] + [asyncio.create_task(explode(9))]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    found = [await double(task.result()) for task in done if not task.exception()]
    late, never = await asyncio.wait(pending, timeout=2) if pending else (set(), set())
    for task in never:
        task.cancel()
        found.append(await double(-1))
    return found + [await double(task.result()) for task in late]


async def gathered_what_is_done() -> list[Any]:
    early = asyncio.ensure_future(double(1))
    await early
    return list(await asyncio.gather(early, double(2), asyncio.gather(early, early), asyncio.shield(double(3))))


async def grouped_in_groups() -> list[str]:
    found: list[str] = []

    async def inner(x: int) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_twice(x))
                group.create_task(explode(x) if x == 1 else double(x))
            found.append(f"inner {x}")
        except* StepFailed:
            found.append(f"failed {await double(x)}")
        except* asyncio.CancelledError:
            found.append(f"cancelled {x}")

    try:
        async with asyncio.timeout(6), asyncio.TaskGroup() as group:
            for x in range(3):
                group.create_task(inner(x))
            group.create_task(_twice(7))
            await sleep(4)
    except TimeoutError:
        found.append("late")
    return [*found, str(await double(1))]


async def in_turns() -> list[int]:
    """Semaphores, conditions and queues whose waiters give up."""
    room, changed, barrier = asyncio.Semaphore(1), asyncio.Condition(), asyncio.Barrier(2)
    queue: asyncio.PriorityQueue[int] = asyncio.PriorityQueue()
    found: list[int] = []

    async def work(x: int, patience: float) -> None:
        try:
            async with asyncio.timeout(patience), room:
                found.append(await double(x))
        except TimeoutError:
            found.append(await double(-x))
        async with changed:
            changed.notify(1)

    async def listen() -> None:
        async with changed:
            try:
                async with asyncio.timeout(3):
                    await changed.wait()
            except TimeoutError:
                found.append(0)
        await queue.put(await double(5))
        await barrier.wait()

    async def take() -> None:
        found.append(await queue.get())
        await barrier.wait()

    await asyncio.gather(*(work(x, 2 + x) for x in range(1, 6)), listen(), take(), return_exceptions=True)
    return found


_GRAPH = Graph("replayed", max_parallel=2)
for _name, _deps in {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "e": [], "f": ["e"], "g": ["f", "d"]}.items():
    _GRAPH.task(name=_name, deps=_deps)(partial(explode.function if _name == "e" else double.function, x=len(_deps)))


async def tasks_of_a_graph() -> None:
    with contextlib.suppress(StepFailed):  # that of `e`, after all others have ended
        await _GRAPH.definition.function()


async def handled() -> list[int]:
    """Handlers that call steps and sleep; one is at work when the function returns. Conditions between them."""
    found: list[int] = []

    @on_signal("go")
    async def on_go(number: int) -> None:
        if number > 1:
            await sleep(number)
        found.append(await double(number))

    @on_signal("more")
    def on_more(number: int) -> None:
        found.append(-number)

    note("waits", level="debug")
    try:
        await wait_until(lambda: len(found) >= 2, timeout=5)
    except TimeoutError:
        found.append(0)
    found.append(await double(10))
    return found


async def undone() -> list[int]:
    """A saga whose steps go on when one of them fails, with compensations that fail too, inside another one."""
    found: list[int] = []
    try:
        async with Saga() as outer:
            outer.add(found.append, 1)
            async with Saga() as saga:
                for x in range(3):
                    saga.add(double, x)
                saga.add(explode, 7)
                async with asyncio.TaskGroup() as group:
                    group.create_task(_twice(4))
                    group.create_task(_twice(5))
                    group.create_task(explode(6))
    except ExceptionGroup as errors:
        found.append(len(errors.exceptions))
    return found


async def mapped() -> list[int]:
    """Some at a time, and a failure among them."""
    found = await results_of_each(_twice, range(5), 2)
    try:
        await results_of_each(lambda x: explode(x) if x == 2 else double(x), iter(range(6)), 3)
    except StepFailed as failed:
        found.append(await double(failed.number))
    return found


def go(number: int) -> Signal:
    return Signal("go", Payload(str(number).encode()))


Flow = Callable[..., Any]

_MAIL: dict[Flow, list[MailBody]] = {
    signalled: [go(1), Signal("more", Payload(b"2")), go(3)],
    plain.plain_handlers: [go(1), Signal("more", Payload(b"2")), Signal("go", Payload(b'"x"')), go(3)],
    handled: [go(1), Signal("more", Payload(b"2")), Signal("go", Payload(b'"x"')), go(3)],
}

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
    timed_beside_others,
    timed_out_at_once,
    completed,
    waited_for_a_failure,
    gathered_what_is_done,
    grouped_in_groups,
    in_turns,
    tasks_of_a_graph,
    handled,
    undone,
    mapped,
    *plain.ALL,
]


def mail_for(function: Callable[..., Any]) -> list[MailBody]:
    return _MAIL.get(function, [])
