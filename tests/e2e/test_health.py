"""Probes, idle workers and machines with a wrong clock."""

import asyncio
import os
import shutil
import statistics
import subprocess
import time
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from holdfast.client import Client
from holdfast.worker import Worker
from holdfast_coordinator.postgres import EmbeddedPostgres
from tests.support import flows_health as flows
from tests.support.counting_proxy import counting_proxy
from tests.support.process_tree import descendants, frozen
from tests.support.processes import coordinator_process, free_port, worker_process
from tests.support.watching import until

from .conftest import Coordinator, WorkerProcessFactory

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODULE = "tests.support.flows_health"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

SHIFTED_CLOCK = """
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, clock, at);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += 3600;
    return failed;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
"""
"""A library that puts the clock of a process one hour ahead; loaded before all others."""


async def health_of(address: str) -> int:
    """What the standard health service says; NOT_SERVING when nobody answers."""
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            stub = health_pb2_grpc.HealthStub(channel)
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=1, wait_for_ready=False)
        except grpc.aio.AioRpcError:
            return int(NOT_SERVING)
        return int(answer.status)


async def until_health(address: str, status: int, *, seconds: float = 10.0) -> None:
    """Returns when the health service says this."""
    await until(lambda: health_of(address), lambda seen: seen == status, seconds=seconds)


@pytest.mark.feature("F137")
async def test_health_follows_the_database_and_the_coordinator() -> None:
    port, worker_port = free_port(), free_port()
    address, worker_address = f"127.0.0.1:{port}", f"127.0.0.1:{worker_port}"
    known = descendants(os.getpid())
    with EmbeddedPostgres(None) as database:
        guardians = descendants(os.getpid()) - known
        async with (
            worker_process(address, MODULE, options=["--health-port", str(worker_port)]) as worker,
            coordinator_process(database.url(), port=port) as coordinator,
        ):
            await worker.wait_for_line("ready")
            await asyncio.gather(until_health(worker_address, SERVING), until_health(address, SERVING))
            with frozen({pid for guardian in guardians for pid in descendants(guardian)}):
                await until_health(address, NOT_SERVING)
            await until_health(address, SERVING)
            await coordinator.kill()
            await until_health(worker_address, NOT_SERVING)


@pytest.mark.feature("F138")
@pytest.mark.alone
async def test_an_idle_worker_polls_rarely_and_new_work_starts_at_once(coordinator: Coordinator, queue: str) -> None:
    async with counting_proxy(coordinator.address) as proxy, Client.connect(proxy.address) as client:
        worker = Worker(client, queue, workflows=[flows.one_step])
        running = asyncio.create_task(worker.run())
        await worker.ready()
        await asyncio.sleep(2)
        assert 1 <= proxy.counts["Poll"] <= 2
        delays = []
        for _ in range(9):
            run = await client.start(flows.one_step.with_options(queue=queue))
            await run.result(timeout=10)
            started, scheduled, *_ = await run.history()
            delays.append((scheduled.at - started.at).total_seconds())
        worker.stop()
        await running
    assert statistics.median(delays) < 0.1


@pytest.mark.feature("F146")
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler to make a wrong clock")
async def test_a_worker_whose_clock_is_an_hour_ahead_keeps_the_time_of_the_database(
    client: Client, process_worker: WorkerProcessFactory, queue: str, tmp_path: Path
) -> None:
    (tmp_path / "clock.c").write_text(SHIFTED_CLOCK)
    library = tmp_path / "clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "clock.c"], check=True)  # noqa: ASYNC221
    async with process_worker(MODULE, environment={"LD_PRELOAD": str(library)}) as worker:
        await worker.wait_for_line("ready")
        before = time.time()
        run = await client.start(flows.keeps_time.with_options(queue=queue))
        began, woke, ended, machine = await run.result(timeout=10)
        after = time.time()
        described = await run.describe()
    assert machine - after > 3000, "the clock of the worker was not wrong"
    assert before - 0.5 <= began <= woke - 1.2 <= ended - 2.4 <= after - 2.4 + 0.5
    assert after - before < 6
    assert described.closed_at is not None
    assert abs(described.closed_at.timestamp() - after) < 2
