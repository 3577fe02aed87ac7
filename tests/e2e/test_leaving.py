"""Replicas that leave, come, or are told to stop before they have begun; workers and clients that move."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from signal import SIGTERM

import grpc
import psycopg
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from holdfast.api.v1 import worker_service_pb2 as pb
from holdfast.api.v1.worker_service_pb2_grpc import WorkerServiceStub
from holdfast.channel.connection import parse_address
from holdfast.channel.health import Health, ask_health
from holdfast.client import Client
from holdfast.worker import Worker
from holdfast_coordinator.store.migrate import MIGRATION_LOCK
from tests.support import flows_restart as flows
from tests.support.ledger import Ledger
from tests.support.process_tree import descendants
from tests.support.processes import START_SECONDS, Process, coordinator_process, free_port
from tests.support.watching import until

from .test_rolling_restart import Load, fleet

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


@pytest.mark.feature("F141")
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


async def test_a_heartbeat_that_reaches_another_replica_keeps_the_session_alive(module_database: str) -> None:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        replicas = await enter(fleet(module_database, ("127.0.0.2", "127.0.0.3"), shuffled=True, stale_seconds=0))
        here, there = [
            WorkerServiceStub(await enter(grpc.aio.insecure_channel(f"{host}:{replicas.port}")))
            for host in replicas.replicas
        ]
        session = await here.OpenSession(pb.OpenSessionRequest(queue="astray", steps=["step"], slots=1, runs_max=1))
        request = pb.HeartbeatRequest(session_id=session.session_id, attach_no=session.attach_no)
        ttl = session.ttl.ToTimedelta().total_seconds()
        began = time.monotonic()
        while time.monotonic() - began < 2.5 * ttl:
            request.msg_no += 1
            assert (await there.Heartbeat(request)).database_time.seconds > 0
            await asyncio.sleep(ttl / 4)
        assert "session_died" not in replicas.output
        # What it says of itself is the truth of the database, wherever it is asked.
        stale = pb.HeartbeatRequest(session_id=session.session_id, attach_no=session.attach_no - 1, msg_no=1)
        assert await _refusal(there.Heartbeat(stale)) == "REATTACH"
        await here.CloseSession(pb.CloseSessionRequest(session_id=session.session_id, attach_no=session.attach_no))
        assert await _refusal(there.Heartbeat(request)) == "SESSION_EXPIRED"


async def _refusal(call: Awaitable[object]) -> str:
    """The reason for which a call is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = rpc_status.from_call(caught.value)
    info = error_details_pb2.ErrorInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    return info.reason


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
