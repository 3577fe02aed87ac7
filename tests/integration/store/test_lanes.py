"""What people ask, what loops look after and what commits have connections of their own, and each wait has an end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import psycopg
import pytest

from holdfast.statuses import RunStatus
from holdfast_coordinator.domain.changes import Changes
from holdfast_coordinator.domain.rows import RunResult, RunState
from holdfast_coordinator.store import cell as cell_module
from holdfast_coordinator.store import cell_queries
from holdfast_coordinator.store.cell import CLIENT_CONNECTIONS, PostgresCellStore
from holdfast_coordinator.store.database_connection import Statement
from holdfast_coordinator.store.pool import Pool
from holdfast_coordinator.store.port import RunSelection, StoreBusy
from tests.support.store_rows import T0, open_run, record, starting, write

LISTINGS_MAX = CLIENT_CONNECTIONS // 2
SLEEP = Statement("sleep", "SELECT pg_sleep(30)")


async def test_slow_listings_hold_up_neither_commits_nor_loops_and_are_refused_in_time(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cell_module, "CLIENT_WAIT_SECONDS", 0.2)
    async with PostgresCellStore.open(database, "00") as cell:
        await write(cell, starting(open_run("r1")))
        async with _slow_listings(database, cell, RunSelection("default"), reading="runs"):
            with pytest.raises(StoreBusy):
                await cell.clients.list_runs(RunSelection("default"))
            assert await cell.mail_after("r1", 0) == []
            assert await cell.loops.lease_owners() == {"s1"}


async def test_one_run_is_shown_while_more_slow_listings_than_there_are_connections_wait(database: str) -> None:
    async with PostgresCellStore.open(database, "00") as cell:
        await write(cell, starting(open_run("r1")))
        wanted = RunSelection("default", idempotency_key="nobody's")
        async with _slow_listings(database, cell, wanted, reading="run_keys", pages=0):
            shown = await cell.clients.view("default", "r1")
            assert shown is not None
            assert shown.record.run_id == "r1"
            rows, _ = await cell.clients.journal("r1", 0, 1)
            assert [row.seq for row in rows] == [1]


async def test_a_listing_that_looks_for_runs_of_a_status_is_a_slow_one_too(database: str) -> None:
    async with PostgresCellStore.open(database, "00") as cell:
        await write(cell, starting(open_run("r1")))
        wanted = RunSelection("default", statuses=frozenset({RunStatus.FAILED}))
        async with _slow_listings(database, cell, wanted, reading="open_runs", pages=0):
            assert await cell.clients.existing("default", ["r1"]) == {"r1"}
            assert await cell.clients.results(["r1"]) == []


async def test_slow_reads_of_single_runs_hold_up_no_loop(database: str) -> None:
    async with PostgresCellStore.open(database, "00") as cell:
        await write(cell, starting(open_run("r1")))
        with psycopg.connect(database) as other:
            other.execute("LOCK TABLE holdfast_c00.runs IN ACCESS EXCLUSIVE MODE")
            slow = [asyncio.create_task(cell.clients.view("default", "r1")) for _ in range(CLIENT_CONNECTIONS)]
            async with asyncio.timeout(5):
                while len(_waiting(database)) < CLIENT_CONNECTIONS:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                assert await cell.loops.lease_owners() == {"s1"}
        assert None not in await asyncio.gather(*slow)


@asynccontextmanager
async def _slow_listings(
    database: str, cell: PostgresCellStore, wanted: RunSelection, *, reading: str, pages: int = 1
) -> AsyncIterator[None]:
    """As many listings as there are connections for people, of which as many as can wait for a locked table.

    reading: the table. pages: how many runs each of them finds when it is free again.
    """
    with psycopg.connect(database) as other:
        other.execute(f"LOCK TABLE holdfast_c00.{reading} IN ACCESS EXCLUSIVE MODE".encode())
        slow = [asyncio.create_task(cell.clients.list_runs(wanted)) for _ in range(CLIENT_CONNECTIONS)]
        async with asyncio.timeout(5):
            while len(_waiting(database)) < LISTINGS_MAX:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            yield
    found = await asyncio.gather(*slow, return_exceptions=True)
    served = [len(page) for page in found if not isinstance(page, BaseException)]
    assert len(served) >= LISTINGS_MAX
    assert set(served) == {pages}
    assert all(isinstance(page, StoreBusy) for page in found if isinstance(page, BaseException))


def _waiting(database: str) -> list[object]:
    with psycopg.connect(database, autocommit=True) as connection:
        return connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchall()


async def test_a_wait_for_a_connection_has_an_end(database: str) -> None:
    pool = Pool(database, size=1, wait_seconds=0.1)
    one = Statement("one", "SELECT 1")
    await pool.read(one())
    holding = asyncio.create_task(pool.read(SLEEP()))
    await asyncio.sleep(0)
    with pytest.raises(StoreBusy, match="1 connections"):
        await pool.read(one())
    holding.cancel()
    await asyncio.gather(holding, return_exceptions=True)
    assert (await pool.read(one()))[0].rows == [(1,)]
    pool.close()


@pytest.mark.parametrize("most", [0, 2_000], ids=["more than are listed by their ids", "few"])
async def test_runs_of_rare_statuses_are_listed_among_all_others(
    database: str, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(cell_queries, "STATUS_RUNS_MAX", most)
    async with PostgresCellStore.open(database, "00") as cell:
        runs = [open_run(f"o{state}", state=state) for state in RunState]
        await write(cell, starting(*runs, open_run("new", state=RunState.READY, epoch=0)))
        closed = Changes()
        for number, status in enumerate(status for status in RunStatus if status.is_closed):
            run_id = f"c-{status}"
            closed.runs.append(record(run_id, created_at=T0 + timedelta(seconds=number)))
            closed.closed[run_id] = RunResult(run_id, "default", status, T0)
        await write(cell, closed)
        for status in RunStatus:
            found = await cell.clients.list_runs(RunSelection("default", statuses=frozenset({status})))
            assert found, status
            ids = {view.record.run_id for view in found}
            if status.is_closed:
                assert ids == {f"c-{status}"}
        both = frozenset({RunStatus.STALLED, RunStatus.FAILED})
        found = await cell.clients.list_runs(RunSelection("default", statuses=both))
        assert {view.record.run_id for view in found} == {"o5", "c-failed"}
