"""What a proxy can do to connections and calls, each with the evidence that it did. Facts only, no I/O.

A fault that hit nothing has not happened: `landed` counts what it hit, and stays 0 until there is something.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

QUEUED_BYTES_MAX = 1 << 20
"""What one direction of a connection holds back before its sender has to wait, as behind a kernel's buffers."""


class Direction(Enum):
    """Which way bytes go."""

    TO_SERVER = "to_server"
    TO_CLIENT = "to_client"


BOTH = frozenset(Direction)


@dataclass(eq=False)
class ConnectionFacts:
    """What faults choose connections by.

    number: from 1, in the order in which they came. client: its host and port, which lead to its process.
    methods: calls so far, by name; a worker's connection for heartbeats is one with "Heartbeat".
    """

    number: int
    client: tuple[str, int]
    methods: Counter[str] = field(default_factory=Counter)


Which = Callable[[ConnectionFacts], bool]


def every_connection(facts: ConnectionFacts) -> bool:
    """All, also those that are still to come."""
    return True


@dataclass(eq=False, kw_only=True)
class Fault:
    """One fault and what it hit.

    only: which connections. Asked once of each: when the fault begins, or when the connection comes; faults of calls
    ask at every call.
    landed: how often it hit: pieces of bytes, connections or calls, as each kind says. connections: their numbers.
    calls: names of calls that it hit, as often as it hit them.
    """

    only: Which = every_connection
    directions: frozenset[Direction] = BOTH
    landed: int = 0
    bytes_hit: int = 0
    connections: set[int] = field(default_factory=set)
    calls: Counter[str] = field(default_factory=Counter)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    lift: Callable[["Fault"], None] = lambda _: None
    _has_landed: asyncio.Event = field(default_factory=asyncio.Event)

    def hit(self, facts: ConnectionFacts, *, bytes_hit: int = 0, call: str = "") -> None:
        """Notes that it hit something on this connection."""
        self.landed += 1
        self.bytes_hit += bytes_hit
        self.connections.add(facts.number)
        if call:
            self.calls[call] += 1
        self._has_landed.set()

    async def landing(self) -> None:
        """Waits until it has hit something."""
        await self._has_landed.wait()

    def end(self) -> None:
        """Ends it: what it holds goes on. What it has hit stays noted."""
        if not self.over.is_set():
            self.over.set()
            self.lift(self)

    def evidence(self) -> dict[str, object]:
        """What it was and what it hit, as JSON can say it."""
        return {
            "fault": type(self).__name__,
            "directions": sorted(direction.value for direction in self.directions),
            "landed": self.landed,
            "bytes": self.bytes_hit,
            "connections": sorted(self.connections),
            "calls": dict(self.calls),
        }


@dataclass(eq=False, kw_only=True)
class Delay(Fault):
    """Everything comes later, in its order. landed: pieces of bytes. jitter_seconds: up to so much more, at random."""

    seconds: float
    jitter_seconds: float = 0.0


@dataclass(eq=False, kw_only=True)
class Throttle(Fault):
    """Each connection passes so many bytes per second in each direction. landed: pieces that had to wait."""

    bytes_per_second: float


@dataclass(eq=False, kw_only=True)
class Partition(Fault):
    """Nothing passes in these directions. landed: pieces of bytes, ends of connections, and new connections.

    drops: False holds the bytes, which pass when it ends, as TCP repeats them; True loses them, and the connections
    that lost some, the `torn`, are reset when it ends. New connections wait: TCP opens none when one direction is cut.
    """

    drops: bool = False
    torn: set[int] = field(default_factory=set)


@dataclass(eq=False, kw_only=True)
class HalfOpen(Fault):
    """Neither side closes the connection; nothing passes, and what they send is not taken out of the kernel.

    So TCP stops acknowledging when the kernel's buffers are full, and no ping is answered. landed: the first piece
    of bytes in each direction of each connection, the only one that is read, and new connections, which wait.
    """


@dataclass(eq=False, kw_only=True)
class Reset(Fault):
    """Connections end with RST, at once, on both sides. landed: connections. calls: those that were open on them."""


@dataclass(eq=False, kw_only=True)
class CallFault(Fault):
    """A fault of calls of one name: it waits for the next `times` of them and is over after those."""

    method: str
    times: int = 1
    begun: int = 0
    done: int = 0
    _has_begun: asyncio.Event = field(default_factory=asyncio.Event)

    def is_meant(self, facts: ConnectionFacts, method: str) -> bool:
        """True while it waits for such a call on such a connection."""
        return self.begun < self.times and self.method == method and not self.over.is_set() and self.only(facts)

    def begin_one(self) -> None:
        """It has to do with a call now."""
        self.begun += 1
        self._has_begun.set()

    async def beginning(self) -> None:
        """Waits until it has to do with a call, which is before it lands."""
        await self._has_begun.wait()

    def finish_one(self) -> None:
        """One of the calls that it began with is done with, hit or not."""
        self.done += 1
        if self.done >= self.times:
            self.end()


@dataclass(eq=False, kw_only=True)
class Duplicate(CallFault):
    """A unary call is sent again, on a connection of the proxy's own; nobody gets the second answer.

    after_seconds: how long after the first one was sent. landed: second calls that the server answered. statuses: how,
    by gRPC's status number. Those that it did not answer are `missed`.
    """

    after_seconds: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    missed: int = 0

    def evidence(self) -> dict[str, object]:
        """With the answers that nobody got."""
        return super().evidence() | {"statuses": dict(self.statuses), "missed": self.missed}


@dataclass(eq=False, kw_only=True)
class HoldBack(CallFault):
    """What a call sends is held while other calls of its connection pass it: the server sees them in another order.

    Released when the server has answered `overtakers` calls that passed it, or after `seconds_max`. landed: calls
    that were overtaken so. overtaken_by: the answered calls, by name.
    """

    overtakers: int = 1
    seconds_max: float = 1.0
    overtaken_by: Counter[str] = field(default_factory=Counter)

    def evidence(self) -> dict[str, object]:
        """With what passed the calls."""
        return super().evidence() | {"overtaken_by": dict(self.overtaken_by)}


@dataclass(eq=False, kw_only=True)
class DropAnswer(CallFault):
    """A call is done by the server, its answer is dropped as it comes, and the client's connection is reset.

    Only answers with a message count: a refusal passes, and the fault waits on. first_field: which messages of a
    stream, by the number of their first field; None for any. landed: answers. bytes_hit: of the frames in which
    they begin.
    """

    first_field: int | None = None

    def takes(self, first_fields: Sequence[int]) -> bool:
        """True when one of the messages that begin so is what it waits for."""
        return self.first_field is None or self.first_field in first_fields
