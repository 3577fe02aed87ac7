"""Waits for many runs with few long polls, whatever the order in which they are added and close.

A poll is over a fixed set of run ids and returns when at least one of them is closed. What is left of it is
asked again together with what was added meanwhile. The transport is handed in.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable

from holdfast.channel.run_records import ClosedRun
from holdfast.errors import HoldfastError, RunNotFound
from holdfast.limits import WAITED_RUNS_MAX

# Each commit of the coordinator wakes every poll that holds one of its runs: more polls, more answers with
# less in them. With fewer than three, a new id would often have to interrupt one.
POLLS_MAX = 3
# Seconds that what is left of an answered poll waits for company; only under load is there anything left.
LEFTOVER_SECONDS = 0.002
# Seconds that a new id, with all polls open, waits for one to come back before it interrupts the smallest one. Not
# when the polls are quiet: then none will come back, and there is time to spare.
INTERRUPT_SECONDS = 0.005
QUIET_SECONDS = 0.02

Ask = Callable[[Collection[str]], Awaitable[list[ClosedRun]]]


class _Poll:
    __slots__ = ("ids", "task")

    def __init__(self, ids: set[str]) -> None:
        self.ids = ids
        self.task: asyncio.Task[None] | None = None


class AwaitedRuns:
    """The runs that are waited for. `ask` long-polls for a set of ids and returns the closed ones."""

    def __init__(self, ask: Ask, *, polls_max: int = POLLS_MAX, ids_max: int = WAITED_RUNS_MAX) -> None:
        self._ask = ask
        self._polls_max = polls_max
        self._ids_max = ids_max
        self._waiters: dict[str, list[asyncio.Future[ClosedRun]]] = {}
        # Awaited and in no poll. A dict keeps the order of arrival.
        self._unasked: dict[str, None] = {}
        self._polls: set[_Poll] = set()
        self._timer: asyncio.Handle | None = None
        self._timer_due = 0.0
        self._moved_at = 0.0

    async def closed(self, run_id: str) -> ClosedRun:
        """Returns when the run is closed. Raises RunNotFound, and whatever `ask` raises."""
        future: asyncio.Future[ClosedRun] = asyncio.get_running_loop().create_future()
        waiters = self._waiters.get(run_id)
        if waiters is None:
            self._waiters[run_id] = [future]
            self._unasked[run_id] = None
            self._schedule(self._delay_of_new_ids())
        else:
            waiters.append(future)
        try:
            return await future
        finally:
            if future.cancelled():
                self._abandon(run_id, future)

    def close(self) -> None:
        """Ends all polls; who still waits gets an error."""
        if self._timer is not None:
            self._timer.cancel()
        for poll in self._polls:
            assert poll.task is not None
            poll.task.cancel()
        self._polls.clear()
        self._unasked.clear()
        for run_id in list(self._waiters):
            self._fail(run_id, HoldfastError(f"the client was closed while waiting for run {run_id}"))

    def _abandon(self, run_id: str, future: asyncio.Future[ClosedRun]) -> None:
        waiters = self._waiters.get(run_id)
        if waiters is None or future not in waiters:
            return
        waiters.remove(future)
        if waiters:
            return
        del self._waiters[run_id]
        self._unasked.pop(run_id, None)
        for poll in list(self._polls):
            if run_id in poll.ids:
                poll.ids.discard(run_id)
                if not poll.ids:
                    self._end(poll)

    def _end(self, poll: _Poll) -> None:
        # An answer under way is lost with it; closed runs stay closed, so the next poll brings it again.
        self._polls.discard(poll)
        assert poll.task is not None
        poll.task.cancel()

    def _delay_of_new_ids(self) -> float:
        if self._unfilled_polls() < self._polls_max:
            return 0.0
        quiet = asyncio.get_running_loop().time() - self._moved_at > QUIET_SECONDS
        return 0.0 if quiet else INTERRUPT_SECONDS

    def _unfilled_polls(self) -> int:
        return sum(len(poll.ids) < self._ids_max for poll in self._polls)

    def _schedule(self, delay: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + delay
        if self._timer is not None:
            if self._timer_due <= due:
                return
            self._timer.cancel()
        self._timer_due = due
        self._timer = loop.call_later(delay, self._open_polls) if delay else loop.call_soon(self._open_polls)

    def _open_polls(self) -> None:
        self._timer = None
        if not self._unasked:
            return
        ids = set(self._unasked)
        self._unasked.clear()
        if self._unfilled_polls() >= self._polls_max:
            self._interrupt_into(ids)
        loop = asyncio.get_running_loop()
        self._moved_at = loop.time()
        ordered = list(ids)
        for start in range(0, len(ordered), self._ids_max):
            poll = _Poll(set(ordered[start : start + self._ids_max]))
            self._polls.add(poll)
            poll.task = loop.create_task(self._run(poll))

    def _interrupt_into(self, ids: set[str]) -> None:
        # The smallest poll, and further ones while they are of the same order: so the sizes of the polls stay
        # far apart, and an id is asked for again a logarithmic number of times, not once per id added.
        by_size = sorted((poll for poll in self._polls if len(poll.ids) < self._ids_max), key=_size)
        for position, poll in enumerate(by_size):
            if position and len(poll.ids) > 2 * len(ids):
                break
            ids |= poll.ids
            self._end(poll)

    async def _run(self, poll: _Poll) -> None:
        closed: list[ClosedRun] = []
        asked = frozenset(poll.ids)
        try:
            closed = await self._ask(asked)
        except RunNotFound as error:
            # Also when no caller waits for the missing one any more: the others do not get its error.
            self._fail_all({error.run} if error.run in asked else poll.ids, error)
        except Exception as error:  # noqa: BLE001  whatever went wrong belongs to those who wait
            self._fail_all(poll.ids, error)
        if poll not in self._polls:
            return
        self._polls.discard(poll)
        self._moved_at = asyncio.get_running_loop().time()
        for one in closed:
            for future in self._waiters.pop(one.run_id, ()):
                if not future.done():
                    future.set_result(one)
        left = [run_id for run_id in poll.ids if run_id in self._waiters]
        if left:
            self._unasked.update(dict.fromkeys(left))
        if self._unasked:
            self._schedule(LEFTOVER_SECONDS if closed else 0.0)

    def _fail_all(self, run_ids: Iterable[str], error: Exception) -> None:
        for run_id in list(run_ids):
            self._fail(run_id, error)

    def _fail(self, run_id: str, error: Exception) -> None:
        for future in self._waiters.pop(run_id, ()):
            if not future.done():
                future.set_exception(error)


def _size(poll: _Poll) -> int:
    return len(poll.ids)
