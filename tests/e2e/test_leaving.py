"""Replicas that leave, come, or are told to stop before they have begun; workers and clients that move: F137, F141."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from signal import SIGTERM

import psycopg
import pytest

from holdfast.channel.connection import parse_address
from holdfast.channel.health import Health, ask_health
from holdfast.client import Client
from holdfast.worker import Worker
from holdfast_coordinator.store.migrate import MIGRATION_LOCK

from . import flows_restart as flows
from .ledger import Ledger
from .process_tree import descendants
from .processes import START_SECONDS, Process, coordinator_process, free_port
from .test_rolling_restart import Load, fleet
from .watching import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

NEW_PROCESS_1 = ["unshare", "--pid", "--fork", "--mount-proc"]


async def test_a_replica_that_drains_says_so_and_serves_on_until_it_is_told_again(
    module_database: str, ledger: Ledger
) -> None:
    async with coordinator_process(module_database, options=["--drain", "60s"]) as process:
        address = (await process.wait_for_line(r"listens on (\S+:\d+)")).group(1)

        async def health() -> Health:
            return await ask_health(parse_address(address), timeout=5)

        async with Client.connect(address) as client:
            worker = Worker(client, "drain", workflows=[flows.quick], steps=[flows.first], handle_signals=False)
            working = asyncio.create_task(worker.run())
            await worker.ready()
            process.send(SIGTERM)
            await until(health, lambda said: said is Health.NOT_SERVING)
            run = await client.start(flows.quick.with_options(queue="drain"), ledger.path)
            assert await run.result(timeout=10) == "quick"
            worker.stop()
            await working
        told_at = time.monotonic()
        process.send(SIGTERM)
        assert await process.wait() == 0
        assert time.monotonic() - told_at < 20


async def test_a_new_replica_gets_its_share_of_workers_while_nothing_fails_and_no_step_is_repeated(
    module_database: str, ledger: Ledger
) -> None:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        environment = {"HOLDFAST_CONNECTION_AGE": "2s"}
        replicas = await enter(
            fleet(module_database, ("127.0.0.2",), shuffled=True, stale_seconds=0, environment=environment)
        )
        client = await enter(Client.connect(replicas.address))
        worker = Worker(
            client, "share", workflows=[flows.three_steps], steps=[flows.first, flows.second, flows.third],
            handle_signals=False,
        )  # fmt: skip
        working = asyncio.create_task(worker.run())
        await worker.ready()
        await replicas.start("127.0.0.3")
        load = Load(client, ledger, queue="share")
        # Once there and, in time, away again.
        await replicas.replicas["127.0.0.3"].wait_for_line("session_attached")
        await asyncio.sleep(2)
        await ledger.wait_for("third 60")
        assert await load.results() == load.names
        worker.stop()
        await working
        assert "session_died" not in replicas.output
    assert ledger.counts == {f"{step} {name}": 1 for step in ("first", "second", "third") for name in load.names}


async def test_a_coordinator_that_waits_to_begin_ends_when_it_is_told_to(module_database: str) -> None:
    async with await psycopg.AsyncConnection.connect(module_database, autocommit=True) as other:
        await other.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
        async with coordinator_process(module_database, port=free_port()) as process:
            await until(lambda: _waiters(other), lambda count: count == 1, seconds=START_SECONDS)
            process.send(SIGTERM)
            assert await process.wait(seconds=10) == 0


def _can_be_process_1() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*NEW_PROCESS_1, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not _can_be_process_1(), reason="needs the right to make a PID namespace")
async def test_process_1_of_a_container_ends_also_while_it_still_reads_its_code() -> None:
    code = "import os, holdfast.cli; print('read', flush=True); import time; time.sleep(60)"
    async with Process("process 1", [*NEW_PROCESS_1, "--kill-child", sys.executable, "-c", code]) as outside:
        await outside.wait_for_line("read")
        (inside,) = descendants(outside.pid)
        os.kill(inside, SIGTERM)
        assert await outside.wait(seconds=10) == 128 + SIGTERM


async def _waiters(connection: psycopg.AsyncConnection[tuple[object, ...]]) -> int:
    """How many wait for the lock of migrations."""
    query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    row = await (await connection.execute(query)).fetchone()
    assert row is not None
    return int(str(row[0]))
