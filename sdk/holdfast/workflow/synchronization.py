"""asyncio's Semaphore and Condition as workflow code gets them: the same order of events on every Python.

As Python 3.13 has them; `redirection` leads asyncio's own methods here. They keep their state in asyncio's attributes.
Only the line of those who wait is of another kind: asyncio looks through all of it for the next one to wake.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

LEFT_MAX = 16
"""Futures that a line holds of those who have left it, beyond one for each who is in it."""


class WaitLine:
    """The futures of those who wait, in the order in which they came. All that it does takes constant time, amortised.

    Someone who was woken or cancelled stays in the line until the code goes on and leaves it. What asyncio does with a
    deque works with it too: its own methods get this line where steps use what workflow code has used.

    It holds at most 2 * len(self) + LEFT_MAX futures, those included that have left it behind someone who waits on.
    """

    __slots__ = ("_asleep", "_first", "_members")

    def __init__(self, waiters: "Iterable[asyncio.Future[Any]]" = ()) -> None:
        self._members = dict.fromkeys(waiters)
        # Both begin with what they look for, once those are dropped that cannot become it again.
        self._asleep = deque(self._members)
        self._first = deque(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> "Iterator[asyncio.Future[Any]]":
        return iter(self._members)

    def append(self, waiter: "asyncio.Future[Any]") -> None:
        self._members[waiter] = None
        self._asleep.append(waiter)
        self._first.append(waiter)

    def remove(self, waiter: "asyncio.Future[Any]") -> None:
        members = self._members
        del members[waiter]
        if len(self._first) > 2 * len(members) + LEFT_MAX:
            self._first = deque(members)
        if len(self._asleep) > 2 * len(members) + LEFT_MAX:
            self._asleep = deque(one for one in members if not one.done())

    def wake_next(self, value: bool) -> bool:
        """Wakes the first one that waits; False when there is none."""
        while self._asleep:
            waiter = self._asleep.popleft()
            if not waiter.done():
                waiter.set_result(value)
                return True
        return False

    def has_come_first(self) -> bool:
        """Whether someone is in the line who has not been cancelled; woken counts."""
        while self._first:
            waiter = self._first[0]
            if waiter in self._members and not waiter.cancelled():
                return True
            self._first.popleft()
        return False


def _line_of(primitive: Any) -> WaitLine:
    """The line of a Semaphore or a Condition. asyncio makes it of another kind, or none yet."""
    line = primitive._waiters
    if line.__class__ is not WaitLine:
        line = primitive._waiters = WaitLine(line or ())
    return line


async def acquire_semaphore(self: Any) -> bool:
    """asyncio.Semaphore.acquire."""
    line = _line_of(self)
    if self._value > 0 and not line.has_come_first():
        self._value -= 1
        return True
    waiter = self._get_loop().create_future()
    line.append(waiter)
    try:
        try:
            await waiter
        finally:
            line.remove(waiter)
    except asyncio.CancelledError:
        if waiter.done() and not waiter.cancelled():
            # It was given a place that it does not take.
            self._value += 1
        raise
    finally:
        while self._value > 0 and _wake_next(self):
            pass
    return True


def is_locked(self: Any) -> bool:
    """asyncio.Semaphore.locked: who waits comes first, also when a place is free."""
    return self._value == 0 or _line_of(self).has_come_first()


def release_semaphore(self: Any) -> None:
    """asyncio.Semaphore.release."""
    self._value += 1
    _wake_next(self)


def _wake_next(semaphore: Any) -> bool:
    if not _line_of(semaphore).wake_next(True):
        return False
    semaphore._value -= 1
    return True


async def wait_for_condition(self: Any) -> bool:
    """asyncio.Condition.wait."""
    if not self.locked():
        raise RuntimeError("cannot wait on un-acquired lock")
    waiter = self._get_loop().create_future()
    self.release()
    try:
        try:
            line = _line_of(self)
            line.append(waiter)
            try:
                await waiter
                return True
            finally:
                line.remove(waiter)
        finally:
            await _acquire_whatever_comes(self)
    except BaseException:
        # The notification may have been for this one; let another have it.
        self.notify(1)
        raise


def notify_condition(self: Any, n: int = 1) -> None:
    """asyncio.Condition.notify."""
    if not self.locked():
        raise RuntimeError("cannot notify on un-acquired lock")
    line = _line_of(self)
    while n > 0 and line.wake_next(False):
        n -= 1


async def _acquire_whatever_comes(condition: Any) -> None:
    cancelled: asyncio.CancelledError | None = None
    while True:
        try:
            await condition.acquire()
            break
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
