"""The protocol of workers: unary calls alone are enough, and over a stream that breaks nothing is lost."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import psycopg
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2

import holdfast
from holdfast import App
from holdfast.api.v1 import journal_pb2
from holdfast.api.v1 import worker_service_pb2 as pb
from holdfast.api.v1.status_pb2 import RUN_STATUS_COMPLETED
from holdfast.api.v1.worker_service_pb2_grpc import WorkerServiceStub
from holdfast.client import Client, by_name
from holdfast.worker import Worker
from tests.support.counting_proxy import counting_proxy
from tests.support.ledger import Ledger, note, until_let_go
from tests.support.processes import coordinator_process
from tests.support.watching import until

from .conftest import Coordinator, WorkerFactory

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAME = "written_by_hand"
RUNS = 40
LOSSES_OF_EACH_KIND = 5
QUEUED_STEPS = 20

app = App("streams")


@app.step
async def first(ledger: str, name: str) -> str:
    note(ledger, f"first {name}")
    return name


@app.step(placement="queued")
async def second(ledger: str, name: str) -> str:
    note(ledger, f"second {name}")
    return name


@app.step
async def third(ledger: str, name: str) -> str:
    note(ledger, f"third {name}")
    return name


@app.workflow
async def three_steps(ledger: str, name: str) -> str:
    await first(ledger, name)
    await holdfast.sleep("5ms")
    return await third(ledger, await second(ledger, name))


@app.step
async def held(ledger: str, name: str) -> str:
    note(ledger, f"held {name}")
    await until_let_go(ledger)
    return name


@app.workflow
async def held_step(ledger: str, name: str) -> str:
    return await held(ledger, name)


@app.workflow
async def one_step(ledger: str, name: str) -> str:
    return await first(ledger, name)


@app.workflow
async def queued_steps(ledger: str, count: int) -> int:
    for number in range(count):
        await second(ledger, str(number))
    return count


@pytest_asyncio.fixture(loop_scope="module")
async def stub(coordinator: Coordinator) -> AsyncIterator[Any]:
    """The generated stub of WorkerService."""
    async with grpc.aio.insecure_channel(coordinator.address) as channel:
        yield WorkerServiceStub(channel)  # type: ignore[no-untyped-call]


@asynccontextmanager
async def opened_session(stub: Any, queue: str) -> AsyncIterator[pb.OpenSessionResponse]:
    """A session of a worker written by hand, closed in the end."""
    known = pb.WorkflowRegistration(name=NAME, extra_positional=True)
    session = await stub.OpenSession(pb.OpenSessionRequest(queue=queue, workflows=[known], slots=1, runs_max=1))
    try:
        yield session
    finally:
        await stub.CloseSession(pb.CloseSessionRequest(session_id=session.session_id, attach_no=session.attach_no))


def poll_of(session: pb.OpenSessionResponse, msg_no: int, *received: pb.Held, runs: int = 1) -> pb.PollRequest:
    return pb.PollRequest(
        session_id=session.session_id, attach_no=session.attach_no, msg_no=msg_no, free_runs=runs, received=received
    )


def report_of(session: pb.OpenSessionResponse, lease: pb.Lease) -> pb.ReportRequest:
    """A report that closes the run with its first argument."""
    entry = journal_pb2.Entry()
    entry.at.GetCurrentTime()
    entry.run_closed.status = RUN_STATUS_COMPLETED
    entry.run_closed.result.CopyFrom(lease.arguments.positional[0])
    transition = pb.Transition(
        run_id=lease.run_id, epoch=lease.epoch, expected_seq=lease.journal_length, transition_id=1, entries=[entry],
        then=pb.THEN_CLOSE,
    )  # fmt: skip
    return pb.ReportRequest(session_id=session.session_id, attach_no=session.attach_no, transitions=[transition])


async def test_a_worker_written_by_hand_needs_unary_calls_only(client: Client, stub: Any, queue: str) -> None:
    async with opened_session(stub, queue) as session:
        polling = asyncio.ensure_future(stub.Poll(poll_of(session, 1)))
        run = await client.start(by_name(NAME).with_options(queue=queue), "echo")
        work = await polling
        assert work.msg_no == 1
        (lease,) = work.leases
        assert lease.arguments.positional[0].data == b'"echo"'
        answer = await stub.Report(report_of(session, lease))
        repeated = await stub.Report(report_of(session, lease))
    assert [one.status for one in answer.transitions] == [pb.TRANSITION_STATUS_COMMITTED]
    assert repeated == answer
    assert await run.result(timeout=10) == "echo"


async def test_polls_and_reports_go_over_one_stream(client: Client, stub: Any, queue: str) -> None:
    async with opened_session(stub, queue) as session:
        stream = stub.Work()
        await stream.write(pb.WorkRequest(poll=poll_of(session, 1, runs=0)))
        await stream.write(pb.WorkRequest(poll=poll_of(session, 2)))
        run = await client.start(by_name(NAME).with_options(queue=queue), "echo")
        answers = {answer.poll.msg_no: answer.poll for answer in (await stream.read(), await stream.read())}
        assert answers.keys() == {1, 2}
        assert not answers[1].leases, "the newest poll counts"
        (lease,) = answers[2].leases
        # A poll that is open does not keep the report waiting.
        await stream.write(pb.WorkRequest(poll=poll_of(session, 3, pb.Held(run_id=lease.run_id, epoch=lease.epoch))))
        await stream.write(pb.WorkRequest(report=report_of(session, lease)))
        answer = await stream.read()
        assert [one.status for one in answer.report.transitions] == [pb.TRANSITION_STATUS_COMMITTED]
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
        assert await stream.code() is grpc.StatusCode.OK
    assert await run.result(timeout=10) == "echo"


async def test_a_message_with_a_poll_and_a_report_is_answered_for_both(client: Client, stub: Any, queue: str) -> None:
    async with opened_session(stub, queue) as session:
        stream = stub.Work()
        await stream.write(pb.WorkRequest(poll=poll_of(session, 1)))
        run = await client.start(by_name(NAME).with_options(queue=queue), "echo")
        (lease,) = (await stream.read()).poll.leases
        received = pb.Held(run_id=lease.run_id, epoch=lease.epoch)
        await stream.write(pb.WorkRequest(poll=poll_of(session, 2, received), report=report_of(session, lease)))
        answer = (await stream.read()).report
        assert [one.status for one in answer.transitions] == [pb.TRANSITION_STATUS_COMMITTED]
        # The poll is open: what comes later is its answer.
        another = await client.start(by_name(NAME).with_options(queue=queue), "again")
        answered = (await stream.read()).poll
        assert (answered.msg_no, [one.run_id for one in answered.leases]) == (2, [another.run_id])
        await stream.write(pb.WorkRequest(report=report_of(session, answered.leases[0])))
        await stream.read()
    assert await run.result(timeout=10) == "echo"
    assert await another.result(timeout=10) == "again"


async def test_queued_steps_in_a_row_need_few_messages_because_polls_and_reports_go_together(
    coordinator: Coordinator, client: Client, worker: WorkerFactory, queue: str, ledger: Ledger
) -> None:
    async with (
        counting_proxy(coordinator.address) as proxy,
        Client.connect(proxy.address) as proxied,
        worker(client=proxied, workflows=[app]),
    ):
        run = await client.start(queued_steps.with_options(queue=queue), ledger.path, QUEUED_STEPS)
        assert await run.result(timeout=20) == QUEUED_STEPS
    # Of a step there are two messages each way, and all four may hold both.
    assert proxy.joined >= QUEUED_STEPS
    assert proxy.counts["Work"] == 1, "the stream goes on however many messages hold both"
    assert ledger.counts == {f"second {number}": 1 for number in range(QUEUED_STEPS)}


async def test_work_whose_delivery_was_lost_with_a_stream_is_handed_out_again(
    client: Client, stub: Any, queue: str
) -> None:
    async with opened_session(stub, queue) as session:
        run = await client.start(by_name(NAME).with_options(queue=queue), "echo")
        stream = stub.Work()
        await stream.write(pb.WorkRequest(poll=poll_of(session, 1)))
        (lease,) = (await stream.read()).poll.leases
        stream.cancel()
        again = stub.Work()
        await again.write(pb.WorkRequest(poll=poll_of(session, 2)))
        assert list((await again.read()).poll.leases) == [lease]
        await again.write(pb.WorkRequest(report=report_of(session, lease)))
        # The worker has nothing more to say: the answer comes all the same, then the stream ends.
        await again.done_writing()
        answer = await again.read()
        assert [one.status for one in answer.report.transitions] == [pb.TRANSITION_STATUS_COMMITTED]
        assert await again.read() is grpc.aio.EOF
    assert await run.result(timeout=10) == "echo"


def _poll_of_nobody(session: pb.OpenSessionResponse) -> list[pb.WorkRequest]:
    return [pb.WorkRequest(poll=pb.PollRequest(session_id=session.session_id, attach_no=1, msg_no=1))]


def _report_of_nobody(session: pb.OpenSessionResponse) -> list[pb.WorkRequest]:
    return [pb.WorkRequest(report=pb.ReportRequest(session_id=session.session_id, attach_no=1))]


def _nothing(session: pb.OpenSessionResponse) -> list[pb.WorkRequest]:
    return [pb.WorkRequest(poll=poll_of(session, 1)), pb.WorkRequest()]


@pytest.mark.parametrize(
    ("requests", "code", "reason"),
    [
        (_poll_of_nobody, grpc.StatusCode.FAILED_PRECONDITION, "REATTACH"),
        (_report_of_nobody, grpc.StatusCode.FAILED_PRECONDITION, "REATTACH"),
        (_nothing, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
    ],
)
async def test_a_refusal_ends_the_stream_with_the_status_of_the_unary_call(
    requests: Callable[[pb.OpenSessionResponse], list[pb.WorkRequest]],
    code: grpc.StatusCode,
    reason: str,
    stub: Any,
    queue: str,
) -> None:
    async with opened_session(stub, queue) as session:
        stream = stub.Work()
        for request in requests(session):
            await stream.write(request)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
    assert caught.value.code() is code
    assert _reason(caught.value) == reason


def _reason(error: grpc.aio.AioRpcError) -> str:
    details = dict(error.trailing_metadata())["grpc-status-details-bin"]
    info = error_details_pb2.ErrorInfo()
    assert status_pb2.Status.FromString(details).details[0].Unpack(info)
    return info.reason


async def test_nothing_is_lost_or_done_twice_when_streams_break_again_and_again(
    coordinator: Coordinator, client: Client, worker: WorkerFactory, queue: str, ledger: Ledger
) -> None:
    seen: Counter[str] = Counter()
    lost: Counter[str] = Counter()

    def loses(kind: str) -> bool:
        seen[kind] += 1
        if seen[kind] % 3 or lost[kind] == LOSSES_OF_EACH_KIND:
            return False
        lost[kind] += 1
        return True

    few = asyncio.Semaphore(4)  # all at once they would need few messages

    async def result_of(name: str) -> str:
        async with few:
            run = await client.start(three_steps.with_options(queue=queue), ledger.path, name)
            result: str = await run.result(timeout=60)
            return result

    names = [str(number) for number in range(RUNS)]
    async with (
        counting_proxy(coordinator.address, loses=loses) as proxy,
        Client.connect(proxy.address) as broken,
        worker(client=broken, workflows=[app]),
    ):
        assert await asyncio.gather(*map(result_of, names)) == names
    assert lost == dict.fromkeys(("Poll", "Poll answer", "Report", "Report answer"), LOSSES_OF_EACH_KIND)
    assert proxy.counts["OpenSession"] == 1, "the session outlives its streams"
    assert "Traceback" not in coordinator.process.output
    assert ledger.counts == {f"{step} {name}": 1 for step in ("first", "second", "third") for name in names}


@pytest.mark.parametrize("kind", ["Report", "Report answer", "Poll answer"])
async def test_a_message_that_is_lost_with_its_stream_costs_no_more_than_a_moment(
    kind: str, coordinator: Coordinator, client: Client, worker: WorkerFactory, queue: str, ledger: Ledger
) -> None:
    lost: list[str] = []

    def loses(seen: str) -> bool:
        is_lost = seen == kind and not lost
        if is_lost:
            lost.append(seen)
        return is_lost

    async with (
        counting_proxy(coordinator.address, loses=loses) as proxy,
        Client.connect(proxy.address) as broken,
        worker(client=broken, workflows=[app]),
    ):
        run = await client.start(one_step.with_options(queue=queue), ledger.path, "a")
        assert await run.result(timeout=5) == "a"
    assert lost == [kind]
    assert ledger.counts == {"first a": 1}
    assert proxy.counts["Work"] == 2
    assert proxy.counts["OpenSession"] == 1, "the session outlives its streams"


async def test_a_report_that_the_database_could_not_take_is_repeated_in_the_same_session(
    coordinator: Coordinator, client: Client, worker: WorkerFactory, queue: str, ledger: Ledger, postgres_url: str
) -> None:
    database = str(psycopg.conninfo.conninfo_to_dict(coordinator.database_url)["dbname"])

    async def look() -> int:
        return proxy.counts["Report"]

    async with (
        counting_proxy(coordinator.address) as proxy,
        Client.connect(proxy.address) as proxied,
        worker(client=proxied, workflows=[app]),
        await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as admin,
    ):
        run = await client.start(held_step.with_options(queue=queue), ledger.path, "a")
        await ledger.wait_for("held a")
        await admin.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false".encode())
        try:
            await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database])
            before = await look()
            ledger.let_go()
            await until(look, lambda seen: seen >= before + 3)
        finally:
            await admin.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true".encode())
        assert await run.result(timeout=20) == "a"
    assert ledger.counts == {"held a": 1}
    assert proxy.counts["OpenSession"] == 1, "the session outlives the outage"


async def test_a_worker_makes_unary_calls_where_streams_are_not_served(
    coordinator: Coordinator, client: Client, worker: WorkerFactory, queue: str, ledger: Ledger
) -> None:
    async with (
        counting_proxy(coordinator.address, lacks={"Work"}) as proxy,
        Client.connect(proxy.address) as plain,
        worker(client=plain, workflows=[app]),
    ):
        run = await client.start(three_steps.with_options(queue=queue), ledger.path, "a")
        assert await run.result(timeout=10) == "a"
    assert proxy.counts["Work"] == 0
    assert proxy.counts["Poll"] >= 1
    assert proxy.counts["Report"] >= 3


async def test_a_coordinator_that_stops_lets_go_of_its_streams_at_once(module_database: str, queue: str) -> None:
    async with coordinator_process(module_database) as process:
        address = (await process.wait_for_line(r"listens on (\S+:\d+)")).group(1)
        async with Client.connect(address) as client:
            worker = Worker(client, queue, workflows=[app])
            running = asyncio.create_task(worker.run())
            await worker.ready()
            process.send(signal.SIGTERM)
            assert await process.wait(seconds=4) == 0
            worker.stop()
            await running
