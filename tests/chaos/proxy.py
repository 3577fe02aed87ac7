"""A proxy of bytes before one coordinator that knows gRPC's frames and breaks what it is told to break.

It listens, connects each client that comes to the coordinator, and passes bytes on, a frame when it is whole. Every
method of it that is a fault answers with a `Fault`, whose evidence says what it hit; `faults` keeps all of them.

OpenSession answers a worker with the address of its replica, and the worker sends heartbeats there, past any proxy
that it came by. So a fleet behind proxies starts the proxy first, then its coordinator with `holdfast serve --port 0
--advertise <proxy.address>`, then sets `proxy.target` to the address that the coordinator says it listens on; again
whenever the coordinator starts again. Clients that come before are reset, as by a coordinator that is away.

TLS, and whatever else is no HTTP/2 to read, passes as bytes: only faults of connections hit it.
"""

import asyncio
import random
from collections.abc import Coroutine, Iterable
from typing import Self, TypeVar

from h2.exceptions import ProtocolError

from .connections import ProxiedConnection
from .faults import (
    BOTH,
    CallFault,
    ConnectionFacts,
    Delay,
    Direction,
    DropAnswer,
    Duplicate,
    Fault,
    HalfOpen,
    HoldBack,
    Partition,
    Reset,
    Throttle,
    Which,
    every_connection,
)
from .frames import Headers
from .second_calls import call_again

CONNECT_SECONDS = 10.0
BACKLOG = 1024
"""Connections that wait to be accepted."""

Standing = TypeVar("Standing", bound=Fault)
OfCalls = TypeVar("OfCalls", bound=CallFault)


class ChaosProxy:
    """See the module. One for each coordinator; it belongs to the event loop that started it.

    target: may be changed when the coordinator has moved; connections that are there stay where they are.
    unreached: connections that ended at once, because the coordinator took none.
    """

    def __init__(self, target_host: str, target_port: int, *, seed: int = 0) -> None:
        """seed: of the jitter of delays."""
        self.target = (target_host, target_port)
        self.address = ""
        self.faults: list[Fault] = []
        self.unreached = 0
        self._chance = random.Random(seed)
        self._connections: dict[int, ProxiedConnection] = {}
        self._accepted = 0
        self._standing: list[Fault] = []
        self._call_faults: list[CallFault] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        if self._server is None:
            await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    @property
    def connections(self) -> list[ConnectionFacts]:
        """Those that are there, in the order in which they came."""
        return [connection.facts for connection in self._connections.values()]

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listens; port 0 takes a free one. `address` is then host:port for clients and for `--advertise`."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, host, port, backlog=BACKLOG)
        self.address = f"{host}:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Ends every connection and every fault, and waits for what it has begun."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        for connection in list(self._connections.values()):
            connection.reset()
        for fault in [*self._standing, *self._call_faults]:
            fault.end()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    def delay(
        self,
        seconds: float,
        *,
        jitter_seconds: float = 0.0,
        directions: Iterable[Direction] = BOTH,
        only: Which = every_connection,
    ) -> Delay:
        """Everything that comes from now on comes later, until it is ended."""
        return self._stand(
            Delay(seconds=seconds, jitter_seconds=jitter_seconds, directions=frozenset(directions), only=only)
        )

    def throttle(
        self, bytes_per_second: float, *, directions: Iterable[Direction] = BOTH, only: Which = every_connection
    ) -> Throttle:
        """Every connection is slow, until it is ended."""
        return self._stand(Throttle(bytes_per_second=bytes_per_second, directions=frozenset(directions), only=only))

    def partition(self, *directions: Direction, drops: bool = False, only: Which = every_connection) -> Partition:
        """Nothing passes in these directions, until it is ended. See Partition for what `drops` does."""
        return self._stand(Partition(directions=frozenset(directions) or BOTH, drops=drops, only=only))

    def half_open(self, *, only: Which = every_connection) -> HalfOpen:
        """Nothing passes, nothing is acknowledged, nothing is closed, until it is ended."""
        return self._stand(HalfOpen(only=only))

    def reset(self, *, only: Which = every_connection) -> Reset:
        """Resets the connections that are there."""
        fault = Reset(only=only)
        for connection in list(self._connections.values()):
            if not connection.is_over and only(connection.facts):
                fault.hit(connection.facts)
                fault.calls.update(call.method for call in connection.calls.values())
                connection.reset()
        self.faults.append(fault)
        fault.end()
        return fault

    def duplicate(
        self, method: str, *, times: int = 1, after_seconds: float = 0.0, only: Which = every_connection
    ) -> Duplicate:
        """The next `times` unary calls of this name are sent twice."""
        return self._arm(Duplicate(method=method, times=times, after_seconds=after_seconds, only=only))

    def hold_back(
        self,
        method: str,
        *,
        times: int = 1,
        overtakers: int = 1,
        seconds_max: float = 1.0,
        only: Which = every_connection,
    ) -> HoldBack:
        """What the next `times` calls of this name send is overtaken by other calls of their connections."""
        return self._arm(
            HoldBack(method=method, times=times, overtakers=overtakers, seconds_max=seconds_max, only=only)
        )

    def drop_answer(
        self, method: str, *, times: int = 1, first_field: int | None = None, only: Which = every_connection
    ) -> DropAnswer:
        """The next `times` answers to calls of this name are lost after the fact, each with its connection.

        first_field: for a stream, which messages: of "Work" 1 are answers to polls, 2 those to reports.
        """
        return self._arm(DropAnswer(method=method, times=times, first_field=first_field, only=only))

    def _stand(self, fault: Standing) -> Standing:
        fault.lift = self._lift
        self._standing.append(fault)
        self.faults.append(fault)
        self._obey()
        return fault

    def _lift(self, fault: Fault) -> None:
        self._standing.remove(fault)
        if isinstance(fault, Partition):
            for number in fault.torn & self._connections.keys():
                self._connections[number].reset()  # its frames have a hole
        self._obey()

    def _obey(self) -> None:
        for connection in list(self._connections.values()):
            connection.obey(self._standing)

    def _arm(self, fault: OfCalls) -> OfCalls:
        fault.lift = self._disarm
        self._call_faults.append(fault)
        self.faults.append(fault)
        return fault

    def _disarm(self, fault: Fault) -> None:
        assert isinstance(fault, CallFault)
        self._call_faults.remove(fault)
        if isinstance(fault, HoldBack):
            for connection in list(self._connections.values()):
                connection.release(fault)

    def _accept(self) -> asyncio.Protocol:
        self._accepted += 1
        connection = ProxiedConnection(
            ConnectionFacts(self._accepted, ("", 0)),
            self._call_faults,
            chance=self._chance,
            call_again=self._call_again,
            on_come=self._come,
            on_gone=self._gone,
        )
        return connection.client_side

    def _come(self, connection: ProxiedConnection) -> None:
        self._connections[connection.facts.number] = connection
        self._do(self._connect(connection))

    def _gone(self, connection: ProxiedConnection) -> None:
        self._connections.pop(connection.facts.number, None)

    async def _connect(self, connection: ProxiedConnection) -> None:
        await self._way_is_free(connection.facts)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await asyncio.get_running_loop().create_connection(lambda: connection.server_side, *self.target)
        except (OSError, TimeoutError):
            self.unreached += 1
            connection.reset()
            return
        if connection.is_over:  # reset meanwhile
            connection.reset()
            return
        connection.begin(self._standing)

    async def _way_is_free(self, facts: ConnectionFacts) -> None:
        """Waits until no fault keeps this connection from being opened."""
        met = set[Fault]()
        while blockades := [
            fault for fault in self._standing if isinstance(fault, Partition | HalfOpen) and fault.only(facts)
        ]:
            for fault in blockades:
                if fault not in met:
                    fault.hit(facts)
            met.update(blockades)
            await blockades[0].over.wait()

    def _call_again(self, facts: ConnectionFacts, fault: Duplicate, method: str, headers: Headers, body: bytes) -> None:
        async def call() -> None:
            await asyncio.sleep(fault.after_seconds)
            try:
                answer = await call_again(*self.target, headers, body)
            except (OSError, TimeoutError, ProtocolError):
                fault.missed += 1
            else:
                fault.statuses[answer.status] += 1
                fault.hit(facts, bytes_hit=len(body), call=method)
            fault.finish_one()

        self._do(call())

    def _do(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
