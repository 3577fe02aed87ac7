"""Alarms that fail: they are tried later and later, are given up visibly, and hold up nobody."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import psycopg
from google.protobuf.duration_pb2 import Duration

from holdfast import ids
from holdfast.api.v1 import journal_pb2, run_service_pb2
from holdfast_coordinator.app import coordinator
from holdfast_coordinator.config import Config
from tests.support.raw_worker import RawWorker, entry, transition

NONSENSE = b"\xff what no release reads"
DUE = "kind >= 6 AND due_at <= clock_timestamp()"


async def until(is_true: Callable[[], Awaitable[bool]]) -> None:
    """Waits until something is so, for at most ten seconds."""
    async with asyncio.timeout(10):
        while not await is_true():  # noqa: ASYNC110 - rows of Postgres ring no event
            await asyncio.sleep(0.02)


def query(database: str, sql: str) -> list[tuple[object, ...]]:
    """What a statement on the cell answers."""
    with psycopg.connect(database, autocommit=True) as connection:
        cursor = connection.execute(sql.replace("@", "holdfast_c00.").encode())
        return cursor.fetchall() if cursor.description else []


async def test_a_thousand_deliveries_that_fail_stop_no_alarm_and_no_child(database: str) -> None:
    """They were read again and again as the oldest page, and no timer of the cell ever fired."""
    async with coordinator(Config(database_url=database, port=0, poll_wait="0.2s")) as replica:
        worker = await RawWorker(replica.address).open()
        parent = await worker.started()
        query(
            database,
            "INSERT INTO @alarms (run_id, kind, ref, due_at, body) SELECT "
            f"'{parent.run_id}', 6, 10 + i, now() - interval '1 hour', '\\x{NONSENSE.hex()}' "
            "FROM generate_series(1, 1100) i",
        )
        delayed = await worker.start(delay=Duration(nanos=100_000_000))
        child = journal_pb2.ChildStarted(
            number=1, workflow="flow", run_id=ids.child_run_id(parent.run_id, 1), close_policy=3
        )
        await worker.report(transition(parent, entry(child_started=child)))
        began = time.monotonic()
        leased: set[str] = set()
        async with asyncio.timeout(10):
            while not {delayed, child.run_id} <= leased:
                leased |= {lease.run_id for lease in (await worker.poll()).leases}
        assert time.monotonic() - began < 5

        async def all_have_failed() -> bool:
            return query(database, f"SELECT count(*) FROM @alarms WHERE {DUE} AND attempts = 0") == [(0,)]

        await until(all_have_failed)
        await worker.close()


async def test_a_start_of_a_child_that_was_given_up_is_shown_and_is_the_end_of_it(database: str) -> None:
    async with coordinator(Config(database_url=database, port=0, poll_wait="0.2s")) as replica:
        worker = await RawWorker(replica.address).open()
        run = (await worker.started()).run_id
        child = ids.child_run_id(run, 3)
        query(database, f"INSERT INTO @children VALUES ('{run}', 3, '{child}', 1, false)")
        query(
            database,
            "INSERT INTO @alarms (run_id, kind, ref, due_at, body, attempts) "
            f"VALUES ('{run}', 6, 3, now(), '\\x{NONSENSE.hex()}', 19)",
        )
        described = run_service_pb2.RunDescription()

        async def is_shown() -> bool:
            nonlocal described
            described = await worker.described(run)
            return bool(described.undelivered)

        await until(is_shown)
        (sentence,) = described.undelivered
        assert sentence.startswith("child 3 was not started, given up after 20 attempts: ")
        assert query(database, "SELECT count(*) FROM @alarms") == [(0,)]
        assert query(database, "SELECT attempts, body FROM @dead_letters") == [(20, NONSENSE)]
        async with asyncio.timeout(10):
            while not (notices := (await worker.poll()).notices):
                pass
        (mail,) = notices[0].mail
        assert (mail.child_closed.number, mail.child_closed.run_id) == (3, child)
        assert mail.child_closed.failure.error_type == "ChildNotStarted"
        assert f"{child} was not started in 20 attempts: " in mail.child_closed.failure.message
        await worker.close()
