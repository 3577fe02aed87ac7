"""While an old transaction keeps the dead entries of an index, a read of due alarms does not walk them all."""

import asyncio
import json
from typing import Any

import psycopg
import pytest
from psycopg import pq

from holdfast_coordinator.domain.changes import Changes
from holdfast_coordinator.domain.rows import AlarmKind, AlarmRow
from holdfast_coordinator.store.cell import PostgresCellStore
from holdfast_coordinator.store.database_connection import Answer, StatementCall
from holdfast_coordinator.store.pool import Pool
from tests.support.store_rows import at, write

ALARMS = 4_000
STRIDE = 1_607
PAGE = 500
BUFFERS_PER_ALARM_MAX = 3
"""Of the index and of the table, and one for luck."""


@pytest.mark.parametrize("kind", [AlarmKind.TIMER, AlarmKind.OUTBOX_CHILD], ids=lambda kind: kind.name)
async def test_fired_alarms_cost_the_next_read_nothing_while_an_old_transaction_keeps_their_entries(
    cell: PostgresCellStore, database: str, monkeypatch: pytest.MonkeyPatch, kind: AlarmKind
) -> None:
    read: list[StatementCall] = []
    read_statements = Pool.read

    async def recorded(pool: Pool, *calls: StatementCall) -> list[Answer]:
        read[:] = calls
        return await read_statements(pool, *calls)

    is_delivery = kind is AlarmKind.OUTBOX_CHILD
    # Due in another order than they were written in, as alarms are: each entry leads to another page of the table.
    alarms = [AlarmRow("r1", kind, ref, at(ref * STRIDE % ALARMS)) for ref in range(1, ALARMS + 1)]
    with psycopg.connect(database) as holding:
        await write(cell, Changes(alarms_set={(row.run_id, row.kind, row.ref): row for row in alarms}))
        # A snapshot that still sees every alarm: nothing of them can be taken out of the index.
        holding.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        seen = holding.execute("SELECT count(*) FROM holdfast_c00.alarms").fetchone()
        assert seen == (ALARMS,)
        fired = 0
        while fired < ALARMS:
            due, _ = await cell.loops.due_alarms(PAGE, outbox=is_delivery)
            assert due
            await write(cell, Changes(alarms_cleared={(row.run_id, row.kind, row.ref) for row in due}))
            fired += len(due)
        await write(cell, Changes(alarms_set={("r1", kind, 0): AlarmRow("r1", kind, 0, at(ALARMS + 1))}))
        monkeypatch.setattr(Pool, "read", recorded)
        due, _ = await cell.loops.due_alarms(PAGE, outbox=is_delivery)
        assert [row.ref for row in due] == [0]
        (usual,) = read
        await cell.loops.due_alarms(PAGE, outbox=is_delivery, from_start=True)
        (from_start,) = read
        costly = await asyncio.to_thread(_buffers, database, from_start)
        assert costly > ALARMS, "the entries are dead, and they are there"
        assert await asyncio.to_thread(_buffers, database, usual) <= BUFFERS_PER_ALARM_MAX * PAGE


def _buffers(database: str, call: StatementCall) -> int:
    """How many buffers Postgres reads for this very call, by the index: so small a table it might scan."""
    with psycopg.connect(database) as connection:
        connection.execute("SET enable_seqscan = off")
        connection.execute("SET enable_bitmapscan = off")
        result = connection.pgconn.exec_params(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {call.statement.sql}".encode(),
            call.parameters,
            param_types=[kind.oid for kind in call.statement.types],
            param_formats=[pq.Format.BINARY] * len(call.parameters),
        )
    assert result.status == pq.ExecStatus.TUPLES_OK, result.error_message
    (row,) = json.loads(result.get_value(0, 0) or b"")
    plan: dict[str, Any] = row["Plan"]
    hit, missed = plan["Shared Hit Blocks"], plan["Shared Read Blocks"]
    return int(hit) + int(missed)
