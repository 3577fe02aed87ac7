"""Rows for tests of stores, with everything that a test does not care about filled in."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any

from holdfast.journal import RunStarted
from holdfast.statuses import RunStatus, Then
from holdfast_coordinator.domain.asks import CloseAsk
from holdfast_coordinator.domain.changes import Changes
from holdfast_coordinator.domain.commands import CommitTransition
from holdfast_coordinator.domain.rows import JournalRow, KeyRow, OpenRun, RunRow, RunState, TaskRow, TaskState
from holdfast_coordinator.domain.snapshot import Reads, Snapshot
from holdfast_coordinator.domain.states import RUN_FIELDS, TASK_FIELDS, Holding
from holdfast_coordinator.store.port import CellStore

T0 = datetime(2024, 1, 1, tzinfo=UTC)
"""Long past for any clock, so that what became ready then is ready now."""

ENTRY = b"\x1a\x02\x0a\x00"
"""One entry as framed JournalRow bytes."""


def at(seconds: float) -> datetime:
    """So long after T0."""
    return T0 + timedelta(seconds=seconds)


def record(run_id: str, **changed: Any) -> RunRow:
    """A row of `runs`."""
    values: dict[str, Any] = {
        "run_id": run_id, "namespace": "default", "workflow": "order", "queue": "default", "created_at": T0,
        "arguments": b"arguments", "call_digest": b"hash",
    }  # fmt: skip
    return RunRow(**{**values, **changed})


def open_run(run_id: str, **changed: Any) -> OpenRun:
    """A row of `open_runs`; leased by session s1 unless told otherwise. It holds what its state always has."""
    state = changed.get("state", RunState.LEASED)
    values: dict[str, Any] = {
        "run_id": run_id, "namespace": "default", "queue": "default", "workflow": "order", "state": state,
        "last_at": T0, "epoch": 1, "length": 1, **_held(RUN_FIELDS, state),
    }  # fmt: skip
    return OpenRun(**{**values, **changed})


def ready_run(run_id: str, seconds: float, **changed: Any) -> OpenRun:
    """A run that became ready so long after T0."""
    return open_run(run_id, **{"state": RunState.READY, "ready_at": at(seconds), **changed})


def task(run_id: str, number: int, **changed: Any) -> TaskRow:
    """A row of `step_tasks`; ready unless told otherwise. It holds what its state always has."""
    state = changed.get("state", TaskState.READY)
    values: dict[str, Any] = {
        "run_id": run_id, "number": number, "namespace": "default", "queue": "default", "name": "charge",
        "state": state, "ready_at": T0, "scheduled_at": T0, "arguments": b"arguments", **_held(TASK_FIELDS, state),
    }  # fmt: skip
    return TaskRow(**{**values, **changed})


def _held(fields: Mapping[str, Holding[Any]], state: IntEnum) -> dict[str, Any]:
    filled = {"owner": "s1", "stall_reason": "poison"}
    return {name: filled.get(name, T0) for name, held in fields.items() if held.always and state in held.states}


def key(name: str, run_id: str, **changed: Any) -> KeyRow:
    """A row of `run_keys`."""
    values: dict[str, Any] = {
        "namespace": "default", "kind": "id", "key": name, "run_id": run_id, "call_digest": b"hash",
        "workflow": "order",
    }  # fmt: skip
    return KeyRow(**{**values, **changed})


def starting(*runs: OpenRun, **of_records: Any) -> Changes:
    """The changes that make these runs, each with its first journal row."""
    changes = Changes()
    for run in runs:
        changes.runs.append(
            record(run.run_id, workflow=run.workflow, queue=run.queue, namespace=run.namespace, **of_records)
        )
        changes.opened[run.run_id] = run
        changes.journal.append(JournalRow(run.run_id, 1, 1, 0, 0, [RunStarted(T0, run.workflow)]))
    return changes


def appending(run_id: str, *, expected_seq: int = 1, epoch: int = 1, session_id: str = "s1") -> CommitTransition:
    """An append-only transition of one entry."""
    return CommitTransition(
        run_id, session_id, epoch, expected_seq, expected_seq + 100, 1, [ENTRY], [], 0, Then.CONTINUE
    )


def closing(run_id: str, *, expected_seq: int = 1, epoch: int = 1, session_id: str = "s1") -> CommitTransition:
    """A plain close: one entry, and the close."""
    close = CloseAsk(RunStatus.COMPLETED, b"result", None, ENTRY)
    return CommitTransition(
        run_id, session_id, epoch, expected_seq, expected_seq + 200, 2, [ENTRY], [close], 0, Then.CLOSE
    )


async def write(store: CellStore, changes: Changes, reads: Reads | None = None) -> Snapshot:
    """Commits changes that do not depend on what was read; what was read."""
    return await decide(store, reads or Reads(), lambda _: changes)


async def read(store: CellStore, reads: Reads) -> Snapshot:
    """What a batch sees; nothing is written."""
    return await decide(store, reads, lambda _: Changes())


async def decide(store: CellStore, reads: Reads, decision: Callable[[Snapshot], Changes]) -> Snapshot:
    """One transaction; what it saw."""
    seen: list[Snapshot] = []

    def remember(snapshot: Snapshot) -> Changes:
        seen.append(snapshot)
        return decision(snapshot)

    await store.transact(reads, remember, at=T0)
    (snapshot,) = seen
    return snapshot
