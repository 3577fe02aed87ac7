"""Pauses a replica between any two statements that it sends to Postgres, and before and after each commit.

The store sends many statements in one round trip. Behind a gate each is a round trip of its own, in the same
transaction, so that a test can hold a transaction anywhere in it. Nothing of the store is replaced: a gate wraps
`DatabaseConnection.round_trip`, and only for tasks that were begun behind it.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from unittest import mock

from holdfast_coordinator.store.database_connection import (
    BEGIN,
    COMMIT,
    ROLLBACK,
    Answer,
    DatabaseConnection,
    StatementCall,
)
from holdfast_coordinator.store.errors import QueryFailed

_GATE: ContextVar["Gate | None"] = ContextVar("gate", default=None)
_send = DatabaseConnection.round_trip


class Gate:
    """Where the tasks behind it stop. Open until it is set.

    is_in_transaction: whether it stopped in the middle of one. log: the names of what was sent since it was set.
    """

    def __init__(self) -> None:
        self.stopped = asyncio.Event()
        self.is_in_transaction = False
        self.log: list[str] = []
        self._stop_after: int | None = None
        self._open = asyncio.Event()
        self._in_transaction: set[DatabaseConnection] = set()

    def stop_after(self, steps: int) -> None:
        """Whoever has sent so many steps from now on stops there, until the gate is opened."""
        self._stop_after, self.log, self.is_in_transaction = steps, [], False
        self.stopped.clear()
        self._open.clear()

    def open(self) -> None:
        """Everybody goes on, at full speed."""
        self._stop_after = None
        self._open.set()

    async def send(
        self, connection: DatabaseConnection, calls: Sequence[StatementCall], *, seconds: float
    ) -> list[Answer]:
        """Sends the calls of a round trip step by step, as the transaction that they are."""
        if self._stop_after is None:
            if calls[-1].statement in (COMMIT, ROLLBACK):
                self._in_transaction.discard(connection)
            elif calls[0].statement is BEGIN:
                self._in_transaction.add(connection)
            return await _send(connection, calls, seconds=seconds)
        is_bare = connection not in self._in_transaction and calls[0].statement is not BEGIN and len(calls) > 1
        steps = _steps([BEGIN(), *calls, COMMIT()] if is_bare else calls)
        answers: list[Answer] = []
        try:
            for step in steps:
                await self._boundary(connection)
                if step[0].statement is BEGIN:
                    self._in_transaction.add(connection)
                if step[-1].statement in (COMMIT, ROLLBACK):
                    self._in_transaction.discard(connection)
                self.log.append(step[-1].statement.name)
                answers += await _send(connection, step, seconds=seconds)
        except QueryFailed:
            if is_bare and connection.is_open:
                self._in_transaction.discard(connection)
                await _send(connection, [ROLLBACK()], seconds=seconds)
            raise
        await self._boundary(connection)
        return answers[1:-1] if is_bare else answers

    async def _boundary(self, connection: DatabaseConnection) -> None:
        if self._stop_after is not None and len(self.log) == self._stop_after:
            self.is_in_transaction = connection in self._in_transaction
            self.stopped.set()
            await self._open.wait()


def _steps(calls: Sequence[StatementCall]) -> list[list[StatementCall]]:
    """The calls one by one, but BEGIN with what follows it, and the clock with what is before: they show nothing."""
    steps: list[list[StatementCall]] = []
    for call in calls:
        if steps and (steps[-1][-1].statement is BEGIN or call.statement.name == "clock"):
            steps[-1].append(call)
        else:
            steps.append([call])
    return steps


async def _round_trip(
    connection: DatabaseConnection, calls: Sequence[StatementCall], *, seconds: float
) -> list[Answer]:
    gate = _GATE.get()
    if gate is None:
        return await _send(connection, calls, seconds=seconds)
    return await gate.send(connection, calls, seconds=seconds)


@contextmanager
def gates() -> Iterator[None]:
    """Gates work as long as the block runs."""
    wrapped: Any = _round_trip
    with mock.patch.object(DatabaseConnection, "round_trip", wrapped):
        yield


@contextmanager
def behind(gate: Gate) -> Iterator[None]:
    """Tasks that are begun in the block are behind the gate, and what they begin."""
    token = _GATE.set(gate)
    try:
        yield
    finally:
        _GATE.reset(token)
