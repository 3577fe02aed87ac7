"""The line of a cell writer: commands that wait for their transaction, bounded in bytes and in time.

A command whose rows another transaction has locked is parked: it waits beside the line, and whatever comes for the
same run waits behind it, so that no other run is held up. Of each run that is parked one command is tried again now
and then. In memory, without tasks or stores.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, cast

from holdfast.errors import CoordinatorUnavailable
from holdfast_coordinator.domain.batch import Answer, BatchCommand, command_bytes, keys_of
from holdfast_coordinator.domain.commands import ClaimRuns, ClaimTasks, CommitTransition

if TYPE_CHECKING:
    import asyncio

BATCH_COMMANDS_MAX = 1_000
BATCH_BYTES_MAX = 4 * 1024 * 1024
TRY_SECONDS = (0.002, 0.25)
"""The shortest and the longest wait between two tries of what is parked; in between a quarter of the time that it has
waited already: another replica is done in milliseconds, a person who has locked a row in minutes."""
LOCKED_SECONDS = 30.0
"""How long a run whose row was locked is kept from statements that would wait for it."""
TRY_ALONE_SECONDS = (0.05, 2.0)
"""The same for a command that waits for a lock in the middle of its transaction: each try costs the others as long as
the writer waits for locks."""


class Ticket:
    """Commands that were submitted together, and the future of their answers."""

    __slots__ = ("answers", "future", "missing")

    def __init__(self, count: int, future: "asyncio.Future[list[Answer]]") -> None:
        self.answers: list[Answer | None] = [None] * count
        self.missing = count
        self.future = future

    def answer(self, index: int, answer: Answer) -> None:
        """Takes one answer; with the last one the future has its result."""
        if self.answers[index] is None:
            self.answers[index] = answer
            self.missing -= 1
            if not self.missing and not self.future.done():
                self.future.set_result(cast(list[Answer], self.answers))

    def fail(self, why: str) -> None:
        """What has become of a command is not known: the future fails, unless it has its result."""
        if not self.future.done():
            self.future.set_exception(CoordinatorUnavailable("", f"its database: {why}", is_reached=True))


class Waiting:
    """A command in the line, and where its answer goes.

    locking: keeps it off the compare-and-set path. expires_at: when it is answered that its turn has not come.
    parked_until: when it is answered that its run is locked, 0 while it is not. place: where it is parked.
    """

    __slots__ = (
        "bytes", "command", "expires_at", "index", "is_alone", "keys", "locking", "parked_seconds", "parked_until",
        "place", "ticket",
    )  # fmt: skip

    def __init__(
        self, command: BatchCommand, ticket: Ticket, index: int, expires_at: float, parked_seconds: float
    ) -> None:
        self.command = command
        self.ticket = ticket
        self.index = index
        self.expires_at = expires_at
        self.parked_seconds = parked_seconds
        self.parked_until = 0.0
        self.place = ""
        self.is_alone = False
        self.bytes = command_bytes(command)
        if type(command) is CommitTransition:
            self.locking = not (command.is_append_only or command.is_plain_close)
            self.keys: tuple[tuple[str, str, str], ...] = ()
        else:
            self.locking = True
            self.keys = keys_of(command)

    @property
    def run_id(self) -> str:
        """The run of the command; "" of a claim."""
        command = self.command
        return "" if isinstance(command, ClaimRuns | ClaimTasks) else command.run_id

    @property
    def is_answered(self) -> bool:
        """True when its answer is given, or not awaited any more."""
        return self.ticket.future.done() or self.ticket.answers[self.index] is not None

    def begin_to_park(self, now: float) -> None:
        """It waits for something that is locked from now on, unless it does so already."""
        if not self.parked_until:
            self.parked_until = min(now + self.parked_seconds, self.expires_at)

    def answer(self, answer: Answer) -> None:
        """Gives the answer to whoever waits for it."""
        self.ticket.answer(self.index, answer)

    def fail(self, why: str) -> None:
        """There is no answer: a repeat settles what has become of the command."""
        self.ticket.fail(why)


class _Parked:
    """The commands that wait at one place, and when the first of them is tried again."""

    __slots__ = ("again_at", "is_tried", "since", "waiting")

    def __init__(self, since: float) -> None:
        self.waiting: deque[Waiting] = deque()
        self.since = since
        self.again_at = 0.0
        self.is_tried = False


class Line:
    """See the module. Times are seconds of a monotonic clock."""

    __slots__ = ("_locked_runs", "_parked", "_queue", "bytes")

    def __init__(self) -> None:
        self._queue: deque[Waiting] = deque()
        self._parked: dict[str, _Parked] = {}
        self._locked_runs: dict[str, float] = {}
        self.bytes = 0

    def __len__(self) -> int:
        """How many commands wait for their turn; parked ones are not among them."""
        return len(self._queue)

    def __iter__(self) -> Iterator[Waiting]:
        """All that waits, also what is parked."""
        yield from self._queue
        for parked in self._parked.values():
            yield from parked.waiting

    def add(self, waiting: Waiting) -> None:
        """A command takes its place at the end."""
        self._queue.append(waiting)
        self.bytes += waiting.bytes

    def next_try_at(self) -> float | None:
        """When something parked is to be tried again."""
        if not self._parked:
            return None
        return min((parked.again_at for parked in self._parked.values() if not parked.is_tried), default=None)

    def take(self, now: float) -> list[Waiting]:
        """The commands of the next batch, in order; `settle` must follow when it is over.

        Two starts with one key do not fit into one batch: the second must see what became of the first.
        """
        if not self._parked and len(self._queue) == 1 and not self._locked_runs:
            alone = self._queue.popleft()
            self.bytes -= alone.bytes
            return [alone]
        batch = self._take_parked(now) if self._parked else []
        if batch and batch[0].is_alone:
            return batch
        queue = self._queue
        size = sum(waiting.bytes for waiting in batch)
        keys = {key for waiting in batch for key in waiting.keys}
        while queue and len(batch) < BATCH_COMMANDS_MAX:
            waiting = queue[0]
            if batch and size + waiting.bytes > BATCH_BYTES_MAX:
                break
            if waiting.keys:
                if not keys.isdisjoint(waiting.keys):
                    break
                keys.update(waiting.keys)
            queue.popleft()
            if self._parked and (parked := self._parked.get(waiting.run_id)) is not None:
                waiting.place = waiting.run_id
                waiting.begin_to_park(now)
                parked.waiting.append(waiting)
                continue
            batch.append(waiting)
            size += waiting.bytes
        self.bytes -= size
        if self._locked_runs:
            self._keep_from_waiting(batch, now)
        return batch

    def _keep_from_waiting(self, batch: Sequence[Waiting], now: float) -> None:
        """A compare-and-set would wait for a row that was locked a moment ago; the locking path skips it."""
        self._locked_runs = {run_id: until for run_id, until in self._locked_runs.items() if until > now}
        for waiting in batch:
            waiting.locking |= waiting.run_id in self._locked_runs

    def _take_parked(self, now: float) -> list[Waiting]:
        """What is parked and due for a try: one command of each place and key, or a single one that goes alone."""
        batch: list[Waiting] = []
        keys: set[tuple[str, str, str]] = set()
        for place, parked in list(self._parked.items()):
            while parked.waiting and parked.waiting[0].is_answered:
                self.bytes -= parked.waiting.popleft().bytes
            if not parked.waiting:
                del self._parked[place]
            elif parked.again_at <= now and len(batch) < BATCH_COMMANDS_MAX:
                first = parked.waiting[0]
                if (first.is_alone and batch) or not keys.isdisjoint(first.keys):
                    continue
                keys.update(first.keys)
                parked.waiting.popleft()
                parked.is_tried = True
                batch.append(first)
                if first.is_alone:
                    self.bytes -= first.bytes
                    return batch
        return batch

    def park(self, waiting: Waiting, now: float, *, with_run: bool) -> None:
        """Puts a command of a batch aside. with_run: what comes for its run waits behind it.

        is_alone of the command: it is tried in a batch of its own.
        """
        if with_run:
            self._locked_runs[waiting.run_id] = now + LOCKED_SECONDS
        place = waiting.place or (waiting.run_id if with_run else f"{waiting.run_id} {id(waiting)}")
        parked = self._parked.get(place)
        if parked is None:
            parked = self._parked[place] = _Parked(now)
        if waiting.place or parked.is_tried:
            parked.waiting.appendleft(waiting)
        else:
            parked.waiting.append(waiting)
        if parked.is_tried or not parked.again_at:
            shortest, longest = TRY_ALONE_SECONDS if waiting.is_alone else TRY_SECONDS
            parked.again_at = now + min(max((now - parked.since) / 4, shortest), longest)
            parked.is_tried = False
        waiting.place = place
        self.bytes += waiting.bytes

    def settle(self, batch: Sequence[Waiting]) -> None:
        """A batch is over: what waited behind its commands goes on, unless they were parked again."""
        for waiting in batch:
            place = waiting.place
            if place and (parked := self._parked.get(place)) is not None and parked.is_tried:
                del self._parked[place]
                self._locked_runs.pop(place, None)
                for follower in parked.waiting:
                    follower.place = ""
                self._queue.extendleft(reversed(parked.waiting))

    def drop(self, is_dropped: Callable[[Waiting], bool]) -> list[Waiting]:
        """Takes out commands that have not had their turn."""
        dropped = [waiting for waiting in self if is_dropped(waiting)]
        if dropped:
            gone = set(map(id, dropped))
            self._queue = deque(waiting for waiting in self._queue if id(waiting) not in gone)
            for parked in self._parked.values():
                parked.waiting = deque(waiting for waiting in parked.waiting if id(waiting) not in gone)
            self.bytes -= sum(waiting.bytes for waiting in dropped)
        return dropped
