"""One direction of one connection: what has come, when it goes on, whether it goes on at all.

Bytes only: frames and calls are known elsewhere.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .faults import QUEUED_BYTES_MAX, ConnectionFacts, Delay, Direction, Fault, HalfOpen, Partition, Throttle

PIECES_PER_SECOND = 20
"""Throttled bytes go on in pieces of as much as passes in a twentieth of a second."""


class _Waiting(NamedTuple):
    """due_at: by the loop's clock. data: None for the end of the connection."""

    due_at: float
    data: bytes | None


class Pipe:
    """See the module. `source` is read from, `sink` is written to; both are set when they are there.

    on_end: called when the end of the source may be seen at the sink.
    """

    def __init__(
        self,
        facts: ConnectionFacts,
        direction: Direction,
        *,
        chance: random.Random,
        on_end: Callable[[], None],
    ) -> None:
        self.direction = direction
        self.source: asyncio.Transport | None = None
        self.sink: asyncio.Transport | None = None
        self._facts = facts
        self._chance = chance
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Waiting] = deque()
        self._queued_bytes = 0
        self._queued_bytes_max = QUEUED_BYTES_MAX
        self._timer: asyncio.TimerHandle | None = None
        self._pauses: set[str] = set()
        self._has_begun = False
        self._is_plain = False
        self._delays: list[Delay] = []
        self._throttles: list[Throttle] = []
        self._blockades: list[Fault] = []
        self._free_at = 0.0

    def begin(self) -> None:
        """Both ends are there. Until then bytes wait: uvloop would not have the source paused before it reads."""
        self._has_begun = True
        self._is_plain = not (self._delays or self._throttles or self._blockades)
        self._flush()

    def obey(self, faults: Sequence[Fault]) -> None:
        """These faults of connections stand now, and no others."""
        meant = [fault for fault in faults if self.direction in fault.directions]
        self._delays = [fault for fault in meant if isinstance(fault, Delay)]
        self._throttles = [fault for fault in meant if isinstance(fault, Throttle)]
        self._blockades = [fault for fault in meant if isinstance(fault, Partition | HalfOpen)]
        self._queued_bytes_max = 0 if any(isinstance(fault, HalfOpen) for fault in meant) else QUEUED_BYTES_MAX
        self._is_plain = self._has_begun and not (self._delays or self._throttles or self._blockades)
        if not (self._delays or self._throttles):
            self._queue = deque(_Waiting(0.0, waiting.data) for waiting in self._queue)
            self._free_at = 0.0
        self._flush()

    def put(self, data: bytes) -> None:
        """Takes bytes from the source."""
        if not data:
            return
        if self._is_plain and not self._queue:
            self._write(data)
            return
        for fault in self._blockades:
            fault.hit(self._facts, bytes_hit=len(data))
            if isinstance(fault, Partition) and fault.drops:
                fault.torn.add(self._facts.number)
                return
        for piece in self._pieces(data):
            self._queue.append(_Waiting(self._due_at(piece), piece))
        self._queued_bytes += len(data)
        self._flush()

    def put_end(self) -> None:
        """The source has ended. That is seen at the sink after the bytes before it, and not through a partition."""
        for fault in self._blockades:
            fault.hit(self._facts)
        self._queue.append(_Waiting(self._due_at(b""), None))
        self._flush()

    def pause(self, reason: str) -> None:
        """Reads no more from the source until every reason is gone."""
        if not self._pauses and self.source is not None and not self.source.is_closing():
            self.source.pause_reading()
        self._pauses.add(reason)

    def resume(self, reason: str) -> None:
        """This reason is gone."""
        if reason in self._pauses:
            self._pauses.discard(reason)
            if not self._pauses and self.source is not None and not self.source.is_closing():
                self.source.resume_reading()

    def close(self) -> None:
        """Forgets what waits."""
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _pieces(self, data: bytes) -> list[bytes]:
        if not self._throttles:
            return [data]
        size = max(1, int(min(fault.bytes_per_second for fault in self._throttles) / PIECES_PER_SECOND))
        return [data[at : at + size] for at in range(0, len(data), size)]

    def _due_at(self, piece: bytes) -> float:
        """When this piece goes on: never before the piece before it."""
        now = self._loop.time()
        due_at = max(now, self._queue[-1].due_at if self._queue else 0.0)
        for delay in self._delays:
            due_at = max(due_at, now + delay.seconds + self._chance.random() * delay.jitter_seconds)
            if piece:
                delay.hit(self._facts, bytes_hit=len(piece))
        for throttle in self._throttles:
            self._free_at = max(self._free_at, now) + len(piece) / throttle.bytes_per_second
            due_at = max(due_at, self._free_at)
            if piece:
                throttle.hit(self._facts, bytes_hit=len(piece))
        return due_at

    def _flush(self) -> None:
        """Passes on what is due, and sees to it that the rest will be."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._loop.time()
        due = list[bytes]()
        has_ended = False
        can_pass = self._has_begun and not self._blockades
        while self._queue and can_pass and self._queue[0].due_at <= now and not has_ended:
            data = self._queue.popleft().data
            has_ended = data is None
            due.append(data or b"")
        if due:
            together = b"".join(due)
            self._queued_bytes -= len(together)
            self._write(together)
        if self._queued_bytes > self._queued_bytes_max:
            self.pause("enough waits")
        else:
            self.resume("enough waits")
        if has_ended:
            self._on_end()
        elif self._queue and can_pass:
            self._timer = self._loop.call_at(self._queue[0].due_at, self._flush)

    def _write(self, data: bytes) -> None:
        if data and self.sink is not None and not self.sink.is_closing():
            self.sink.write(data)
