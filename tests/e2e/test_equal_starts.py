"""Starts that mean the same are the same run, whoever wrote them, whenever, and through whichever replica."""

import asyncio
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from json import dumps
from typing import Any

import grpc
import pytest

from holdfast import App, ArgumentsRejected, RunConflict, RunFailed
from holdfast.api.v1 import run_service_pb2 as pb
from holdfast.api.v1 import value_pb2
from holdfast.api.v1.run_service_pb2_grpc import RunServiceStub
from holdfast.client import Client, by_name
from holdfast.client.handle import new_start_id
from holdfast.worker import Worker
from tests.support.processes import coordinator_process

from .conftest import Coordinator, WorkerFactory

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

app = App("equal starts")


@app.workflow(id="kid-{n}")
async def kid(n: float, currency: str = "EUR") -> str:
    return f"{n} {currency}"


@app.workflow
async def parent(n: float) -> str:
    return await kid(n)


@app.workflow(id="named-{name}")
async def named(name: str, at: datetime | None = None) -> str:
    return name


@app.workflow
async def count(n: int) -> int:
    return n


def payload(value: Any) -> value_pb2.Payload:
    data = dumps(value, sort_keys=True, separators=(",", ":")).encode()
    return value_pb2.Payload(data=data, content_sha256=sha256(data).digest())


def spec(*arguments: Any, **options: Any) -> pb.StartSpec:
    options.setdefault("start_id", new_start_id())
    return pb.StartSpec(arguments=value_pb2.Arguments(positional=map(payload, arguments)), **options)


@pytest.mark.feature("F26")
async def test_one_start_is_one_run_before_and_after_the_first_worker_has_come(
    coordinator: Coordinator, worker: WorkerFactory, queue: str
) -> None:
    late = App("late", queue=queue)

    @late.workflow
    async def comes_late(n: int) -> int:
        return n

    async with grpc.aio.insecure_channel(coordinator.address) as channel:
        runs = RunServiceStub(channel)  # type: ignore[no-untyped-call]
        asked = spec(1, workflow="comes_late", id="late-1", queue=queue)
        first = (await runs.StartRun(pb.StartRunRequest(start=asked))).run
        async with worker(workflows=[late]):
            again = (await runs.StartRun(pb.StartRunRequest(start=asked))).run
            other = (await runs.StartRun(pb.StartRunRequest(start=spec(1, workflow="comes_late", id="late-1")))).run
    assert again.run_id == other.run_id == first.run_id
    assert (first.attached, again.attached, other.attached) == (False, False, True)


async def test_a_child_and_a_client_that_start_the_same_meet_in_one_run(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        assert await client.run(parent.with_options(queue=queue), 1) == "1.0 EUR"
        (child,) = await client.list(workflow="kid")
        for same in (
            await client.start(kid.with_options(queue=queue), 1),
            await client.start(kid.with_options(queue=queue), 1.0, "EUR"),
            await client.start(by_name("kid").with_options(queue=queue, id="kid-1.0"), 1),
            await client.start(by_name("kid").with_options(queue=queue, id="kid-1.0"), currency="EUR", n=1.0),
        ):
            assert same.run_id == child.run_id
            assert same.attached
        with pytest.raises(RunConflict, match="another 'currency'") as refused:
            await client.start(kid.with_options(queue=queue), 1, "USD")
        assert 'reuse="new"' in str(refused.value)


async def test_a_child_joins_no_run_of_somebody_else_and_fails_with_its_name(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        taken = await client.start(kid.with_options(queue=queue), 7)
        await taken.result(timeout=20)
        run = await client.start(parent.with_options(queue=queue), 7)
        with pytest.raises(RunFailed) as failed:
            await run.result(timeout=20)
        assert failed.value.error_type == "RunAlreadyStarted"
        assert f"run {taken.run_id} has the id 'kid-7.0'" in str(failed.value)
        assert "another id, or none" in str(failed.value)


async def test_one_instant_in_two_zones_is_one_argument(client: Client, queue: str) -> None:
    utc = datetime(2026, 3, 1, 12, tzinfo=UTC)
    first = await client.start(named.with_options(queue=queue), "zone", utc)
    again = await client.start(named.with_options(queue=queue), "zone", utc.astimezone(timezone(timedelta(hours=2))))
    assert (again.run_id, again.attached) == (first.run_id, True)


@pytest.mark.feature("F24")
async def test_a_template_makes_the_id_of_a_start_that_only_names_its_workflow(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        started = await client.start(by_name("named").with_options(queue=queue), "by-name")
        assert started.id == "named-by-name"
        assert (await client.start(named.with_options(queue=queue), "by-name")).run_id == started.run_id


async def test_the_repeat_of_a_start_that_joined_gets_the_run_that_it_joined(
    coordinator: Coordinator, client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]), grpc.aio.insecure_channel(coordinator.address) as channel:
        runs = RunServiceStub(channel)  # type: ignore[no-untyped-call]
        first = await client.start(named.with_options(queue=queue, delay="1s"), "joined")
        asked = spec("joined", None, workflow="named", id="named-joined", queue=queue, reuse=pb.REUSE_POLICY_NEW)
        joined = (await runs.StartRun(pb.StartRunRequest(start=asked))).run
        await first.result()
        repeated = (await runs.StartRun(pb.StartRunRequest(start=asked))).run
        assert (joined.run_id, joined.attached) == (repeated.run_id, repeated.attached) == (first.run_id, True)


@pytest.mark.feature("F27")
async def test_a_key_that_leads_to_a_run_with_another_id_says_which(client: Client, queue: str) -> None:
    keyed = count.with_options(queue=queue, id="count-a", idempotency_key="key-1")
    first = await client.start(keyed, 1)
    again = await client.start(count.with_options(queue=queue, idempotency_key="key-1"), 1)
    assert (again.run_id, again.id, again.attached) == (first.run_id, "count-a", True)


async def test_starts_at_once_that_continue_a_failed_run_are_all_answered(
    coordinator: Coordinator, client: Client, worker: WorkerFactory, queue: str
) -> None:
    failing = App("failing")

    @failing.workflow
    async def fails() -> None:
        raise ValueError("kaput")

    async with worker(workflows=[failing]), AsyncExitStack() as stack:
        options: dict[str, Any] = {"queue": queue, "id": "fails-1"}
        with pytest.raises(RunFailed):
            await client.run(fails.with_options(**options))
        clients = [await stack.enter_async_context(Client.connect(coordinator.address)) for _ in range(4)]
        continued = fails.with_options(**options, reuse="retry_failed")
        runs = await asyncio.gather(*(one.start(continued) for one in clients))
    assert {run.id for run in runs} == {"fails-1"}


@pytest.mark.feature("F29")
async def test_arguments_of_the_wrong_type_never_become_a_run(client: Client, queue: str) -> None:
    with pytest.raises(ArgumentsRejected, match="argument 'n'"):
        await client.start(count.with_options(queue=queue, id="wrong"), "many")  # type: ignore[arg-type]
    assert not await client.list(text="wrong")


async def test_a_deploy_that_changes_a_default_changes_nothing_of_what_was_started_before(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    def release(default: str) -> App:
        made = App("defaults", queue=queue)

        @made.workflow
        async def invoice(n: int, currency: str = default) -> str:
            return f"{n} {currency}"

        return made

    invoice = by_name("invoice").with_options(queue=queue, id="invoice-1")
    async with worker(workflows=[release("EUR")]):
        first = await client.start(invoice, 1)
        assert await first.result() == "1 EUR"
    async with worker(workflows=[release("USD")]):
        with pytest.raises(RunConflict, match="another 'currency'"):
            await client.start(invoice, 1, "USD")
        for arguments in ((1,), (1, "EUR")):
            same = await client.start(invoice, *arguments)
            assert (same.run_id, same.attached) == (first.run_id, True)


@pytest.mark.feature("F29")
async def test_arguments_of_the_wrong_type_never_become_a_run_whoever_starts_it(
    coordinator: Coordinator, client: Client, worker: WorkerFactory, queue: str
) -> None:
    """By name, by gRPC and on the command line, without the function at hand."""
    async with worker(workflows=[app]), grpc.aio.insecure_channel(coordinator.address) as channel:
        with pytest.raises(ArgumentsRejected, match=r"argument 'n' does not fit: .*integer"):
            await client.start(by_name("count").with_options(queue=queue, id="wrong-1"), "many")
        runs = RunServiceStub(channel)  # type: ignore[no-untyped-call]
        with pytest.raises(grpc.aio.AioRpcError, match="argument 'n' does not fit") as refused:
            await runs.StartRun(pb.StartRunRequest(start=spec([1], workflow="count", id="wrong-2", queue=queue)))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        command = ["run", "count", "--input", '"many"', "--queue", queue, "--id", "wrong-3"]
        typed = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "holdfast", *command, "--address", coordinator.address),
            stderr=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        _, said = await typed.communicate()
        assert typed.returncode != 0
        assert "argument 'n' does not fit" in " ".join(said.decode().split())
        assert not await client.list(text="wrong")
        taken = await client.start(by_name("count").with_options(queue=queue), "3")
        assert await taken.result(timeout=20) == 3


async def test_a_deploy_through_one_replica_counts_at_the_other(module_database: str, queue: str) -> None:
    def release(*, takes_currency: bool) -> App:
        made = App("release", queue=queue)
        if takes_currency:

            @made.workflow
            async def pay(n: int, currency: str) -> str:
                return f"{n} {currency}"

        else:

            @made.workflow(name="pay")
            async def pay_before(n: int) -> str:
                return f"{n} EUR"

        return made

    async with coordinator_process(module_database) as one, coordinator_process(module_database) as two:
        addresses = [
            match.group(1)
            for match in await asyncio.gather(*(each.wait_for_line(r"listens on (\S+:\d+)") for each in (one, two)))
        ]
        async with Client.connect(addresses[0]) as at_one, Client.connect(addresses[1]) as at_two:
            old = Worker(at_two, queue, workflows=[release(takes_currency=False)], handle_signals=False)
            new = Worker(at_one, queue, workflows=[release(takes_currency=True)], handle_signals=False)
            async with asyncio.TaskGroup() as group:
                running = [group.create_task(made.run()) for made in (old, new)]
                await old.ready()
                await new.ready()
                for client in (at_one, at_two):
                    for arguments in ((1,), (1, "EUR")):
                        await client.start(by_name("pay").with_options(queue=queue, delay="1h"), *arguments)
                    with pytest.raises(ArgumentsRejected):
                        await client.start(by_name("pay").with_options(queue=queue), 1, "EUR", "more")
                old.stop()
                new.stop()
                await asyncio.wait(running)
