"""Peers that take connections, calls and memory and give nothing: only they are refused, and nothing of it stays."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest
import pytest_asyncio

from holdfast import Client, CoordinatorUnavailable
from holdfast.api.v1 import run_service_pb2, value_pb2
from tests.support.bystanders import Bystanders, beside, not_much_slower, nothing_grows, open_files, rss_bytes
from tests.support.processes import coordinator_process
from tests.support.raw_http2 import PREFACE, SETTINGS, RawConnection, frame, message
from tests.support.raw_worker import RawWorker, payload
from tests.support.watching import until

from .conftest import LISTENS_ON, Coordinator, replicas

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(90),
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

MEGABYTE = 1_000_000
LARGE = 1_900_000
"""Bytes of a value that is just within the limit."""
SETTLING_SECONDS = 2.0
"""In which the memory would go on growing."""


TTL = "30s"
"""No honest session dies because the machine is busy: it could not connect again, and its steps would run twice."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def coordinator(module_database: str) -> AsyncIterator[Coordinator]:
    async with replicas(module_database, "--session-ttl", TTL) as serving:
        yield serving


@pytest.fixture(autouse=True)
def _no_defect_is_logged(coordinator: Coordinator) -> Iterator[None]:
    yield
    assert "Traceback" not in coordinator.process.output
    assert "[error" not in coordinator.process.output


async def large_run(address: str) -> str:
    """A run with arguments that just fit."""
    worker = await RawWorker(address).open()
    run_id = await worker.start(arguments=value_pb2.Arguments(positional=[payload("x" * LARGE)]))
    await worker.close()
    return run_id


CONNECTIONS, CALLS, RUNS = 6, 40, 100


async def test_who_asks_for_much_and_reads_nothing_loses_the_connection_and_the_memory_does_not_grow_on(
    coordinator: Coordinator,
) -> None:
    """These calls took 1.5 GB, and would have taken all there is."""
    process, address = coordinator.process, coordinator.address
    run_id = await large_run(address)
    request = run_service_pb2.GetRunRequest(run=run_id).SerializeToString()
    with nothing_grows(process.pid, megabytes=400), Bystanders(address) as bystanders:
        before, quiet = rss_bytes(process.pid), bystanders.wait_for(RUNS, seconds=1)
        slow = [await RawConnection.open(address, window_bytes=0) for _ in range(CONNECTIONS)]
        for connection in slow:
            for _ in range(CALLS):
                connection.call("RunService/GetRun", request)
        await process.wait_for_line("slow_reader_left")

        async def any_is_ended() -> bool:
            return any(one.is_closed for one in slow)

        await until(any_is_ended, bool, seconds=30)
        # Not over the burst of reads itself, which takes its share of the machine; from here on nobody reads.
        not_much_slower(quiet, await asyncio.to_thread(bystanders.wait_for, RUNS, seconds=SETTLING_SECONDS))
        assert rss_bytes(process.pid) - before < 600 * MEGABYTE
        assert "is_ended=True" in process.output
        for connection in slow:
            await connection.close()


async def test_who_reads_gets_all_large_results_however_many_are_asked_for_at_once(coordinator: Coordinator) -> None:
    """Beside one who reads nothing, which is not as much as to be ended."""
    process, address = coordinator.process, coordinator.address
    ended = process.output.count("slow_reader_left")
    request = run_service_pb2.GetRunRequest(run=await large_run(address))
    worker = RawWorker(address)
    async with await RawConnection.open(address, window_bytes=0) as slow:
        for _ in range(CALLS):
            slow.call("RunService/GetRun", request.SerializeToString())
        answers = await asyncio.gather(*(worker.runs.GetRun(request, timeout=60) for _ in range(60)))
    assert {len(one.run.arguments.positional[0].data) for one in answers} == {LARGE + 2}
    await worker.close()
    assert process.output.count("slow_reader_left") == ended


async def test_refused_and_cancelled_reads_make_room_for_the_next(coordinator: Coordinator) -> None:
    address = coordinator.address
    worker = RawWorker(address)
    for _ in range(40):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await worker.runs.GetRun(run_service_pb2.GetRunRequest(run="nobody's"), timeout=20)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        worker.runs.GetRun(run_service_pb2.GetRunRequest(run="nobody's"), timeout=20).cancel()
    await worker.close()


async def test_calls_that_are_never_made_whole_leave_nothing_behind(coordinator: Coordinator) -> None:
    """No message, half a message, a message without an end: of every kind of call, on one connection and on many."""
    process, address = coordinator.process, coordinator.address
    with nothing_grows(process.pid, megabytes=120), beside(address):
        for _ in range(20):
            async with await RawConnection.open(address) as connection:
                for method in ("RunService/GetRun", "WorkerService/Work", "WorkerService/Poll") * 30:
                    connection.begin(method)
                    connection.data(connection.begin(method), b"", ends=True)
                    connection.data(connection.begin(method), message(b"abc", size=100), ends=True)
                    connection.data(connection.begin(method), message(b"abc", size=100)[:3])
                refused = connection.call("RunService/GetRun", b"")
                assert await connection.status(refused) == grpc.StatusCode.INVALID_ARGUMENT.value[0]


async def test_what_connects_beyond_the_limit_is_hung_up_on_and_finds_room_when_others_leave(
    module_database: str,
) -> None:
    environment = {"HOLDFAST_CONNECTIONS_MAX": "40"}
    options = ("--session-ttl", TTL)
    async with coordinator_process(module_database, options=options, environment=environment) as process:
        address = (await process.wait_for_line(LISTENS_ON))[1]
        with beside(address):
            files = open_files(process.pid)
            many = await asyncio.gather(*(RawConnection.open(address) for _ in range(200)))

            async def hung_up_on() -> int:
                return sum(one.is_closed for one in many)

            await until(hung_up_on, lambda count: count >= 160, seconds=30)
            assert open_files(process.pid) <= files + 40
            with pytest.raises(CoordinatorUnavailable):
                await Client.connect(address, timeout=1)
            for one in many:
                await one.close()
            async with Client.connect(address, timeout=20) as found_room:
                await found_room.list()


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_ten_thousand_connections_are_attempted_and_honest_work_goes_on(coordinator: Coordinator) -> None:
    process, address = coordinator.process, coordinator.address
    with nothing_grows(process.pid, megabytes=200), beside(address):
        files, opened = open_files(process.pid), list[RawConnection]()
        for _ in range(100):
            some = await asyncio.gather(*(RawConnection.open(address) for _ in range(100)), return_exceptions=True)
            opened += [one for one in some if isinstance(one, RawConnection)]
            refused = [one for one in opened if one.is_closed]
            for one in refused:  # else the descriptors of this process would not do
                await one.close()
            opened = [one for one in opened if not one.is_closed]
        assert open_files(process.pid) <= files + 4_000
        for one in opened:
            await one.close()


@pytest.mark.slow
@pytest.mark.timeout(200)
async def test_a_connection_whose_other_side_says_nothing_any_more_is_ended(coordinator: Coordinator) -> None:
    """One that never speaks HTTP/2, one that does not acknowledge pings: nothing of them stays for minutes."""
    process, address = coordinator.process, coordinator.address
    with nothing_grows(process.pid, megabytes=100, files=0):
        silent = [await RawConnection.open(address, preface=PREFACE[:10]) for _ in range(20)]
        deaf = [await RawConnection.open(address, answers=False) for _ in range(20)]
        for connection in deaf:
            connection.send(frame(SETTINGS, 0, 0))
            connection.begin("WorkerService/Work")
        for connection in silent:
            await connection.closed(seconds=60)
        for connection in deaf:
            await connection.closed(seconds=120)
        for connection in [*silent, *deaf]:
            await connection.close()
