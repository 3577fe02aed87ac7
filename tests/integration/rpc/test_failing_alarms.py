"""Alarms that fail: they are tried later and later, are given up visibly, and hold up nobody."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import psycopg
from google.protobuf.duration_pb2 import Duration

from holdfast import ids
from holdfast.api.v1 import journal_pb2, run_service_pb2, status_pb2, worker_service_pb2
from holdfast_coordinator.app import coordinator
from holdfast_coordinator.config import Config
from tests.support.raw_worker import RawWorker, entry, payload, transition

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
            return "given up" in "".join(described.undelivered)

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


async def undelivered_end(worker: RawWorker, database: str) -> tuple[str, str]:
    """A suspended parent whose row takes no mail, and its child, which has completed and whose end was refused."""
    parent = await worker.started()
    child = journal_pb2.ChildStarted(
        number=1, workflow="flow", run_id=ids.child_run_id(parent.run_id, 1), close_policy=3
    )
    wait = transition(parent, entry(child_started=child), then=worker_service_pb2.THEN_SUSPEND, waits=["child 1"])
    await worker.report(wait)
    lease = await worker.lease(child.run_id)
    query(database, f"INSERT INTO @mail VALUES ('{parent.run_id}', 1, 1, now(), '')")
    done = journal_pb2.RunClosed(status=status_pb2.RUN_STATUS_COMPLETED, result=payload(42))
    await worker.report(transition(lease, entry(run_closed=done), then=worker_service_pb2.THEN_CLOSE))

    async def has_failed() -> bool:
        return query(database, "SELECT attempts FROM @alarms WHERE kind = 7") != [(0,)]

    await until(has_failed)
    return parent.run_id, child.run_id


def deliver_again(database: str, *, attempts: int) -> None:
    """The end of the child is due, after as many attempts that failed."""
    query(database, f"UPDATE @alarms SET due_at = clock_timestamp(), attempts = {attempts} WHERE kind = 7")


async def end_of_child(worker: RawWorker, parent: str) -> journal_pb2.ChildClosed:
    """The mail with which the parent is leased again."""
    async with asyncio.timeout(10):
        (mail,) = (await worker.lease(parent)).mail
    return mail.child_closed


async def test_a_parent_gets_a_failure_for_the_end_of_a_child_that_cannot_be_delivered(database: str) -> None:
    """It waited for ever."""
    async with coordinator(Config(database_url=database, port=0, poll_wait="0.2s")) as replica:
        worker = await RawWorker(replica.address).open()
        parent, child = await undelivered_end(worker, database)
        query(database, f"DELETE FROM @mail WHERE run_id = '{parent}'")
        query(database, f"UPDATE @run_results SET result = '\\x{NONSENSE.hex()}' WHERE run_id = '{child}'")
        deliver_again(database, attempts=19)
        closed = await end_of_child(worker, parent)
        assert (closed.number, closed.run_id, closed.status) == (1, child, status_pb2.RUN_STATUS_FAILED)
        assert closed.failure.error_type == "ChildEndNotDelivered"
        assert f"the end of run {child} was not delivered in 20 attempts: " in closed.failure.message
        assert query(database, "SELECT count(*) FROM @alarms") == [(0,)]
        assert query(database, "SELECT run_id, attempts FROM @dead_letters") == [(child, 20)]
        assert query(database, "SELECT closed FROM @children") == [(True,)]
        await worker.close()


async def test_the_end_of_a_child_is_not_given_up_while_its_parent_takes_no_mail(database: str) -> None:
    async with coordinator(Config(database_url=database, port=0, poll_wait="0.2s")) as replica:
        worker = await RawWorker(replica.address).open()
        parent, child = await undelivered_end(worker, database)
        deliver_again(database, attempts=25)

        async def has_failed_again() -> bool:
            return query(database, "SELECT attempts FROM @alarms WHERE kind = 7") != [(25,)]

        await until(has_failed_again)
        wait = "SELECT attempts, due_at - now() BETWEEN '9 min' AND '10 min' FROM @alarms WHERE kind = 7"
        assert query(database, wait) == [(26, True)]
        (sentence,) = (await worker.described(child)).undelivered
        assert sentence.startswith("its end did not reach its parent: attempt 26 failed, the next is at 20"), sentence
        query(database, f"DELETE FROM @mail WHERE run_id = '{parent}'")
        deliver_again(database, attempts=26)
        closed = await end_of_child(worker, parent)
        assert (closed.run_id, closed.status) == (child, status_pb2.RUN_STATUS_COMPLETED)
        assert closed.result == payload(42)
        assert query(database, "SELECT count(*) FROM @dead_letters") == [(0,)]
        await worker.close()
