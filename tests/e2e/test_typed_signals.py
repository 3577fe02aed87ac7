"""Typed signals with a real coordinator: what does not fit is the error of its sender, and the run waits on."""

import asyncio
from typing import Any

import pytest

from holdfast import App, ArgumentsRejected, RunAlreadyClosed, blocking, receive
from holdfast.client import Client, RunHandle
from tests.support.flows_typed_signals import Approval, app, cart, order
from tests.support.processes import module_run
from tests.support.watching import kinds, until, until_status

from .conftest import Coordinator, WorkerFactory, WorkerProcessFactory

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60), pytest.mark.feature("F96")]


async def waiting(client: Client, queue: str, workflow: Any, *args: Any) -> RunHandle[Any]:
    run: RunHandle[Any] = await client.start(workflow.with_options(queue=queue), *args)
    await until_status(run, "suspended")
    return run


async def test_a_payload_that_does_not_fit_is_the_error_of_its_sender_and_the_run_is_not_woken(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await waiting(client, queue, order, "lamp")
        before = await kinds(run)
        with pytest.raises(ArgumentsRejected) as refused:
            await run.signal("approval", {"approved": "maybe"})
        assert str(refused.value) == (
            f"signal 'approval' of run {run.run_id}: argument 'approved' does not fit: "
            "input should be a valid boolean, unable to interpret input; accepted is {approved: bool, by?: str}"
        )
        with pytest.raises(ArgumentsRejected, match="argument 'by' does not fit: string should have at least 1 char"):
            await run.signal("approval", {"approved": True, "by": ""}, once=True)
        assert await kinds(run) == before
        assert await run.status() == "suspended"
        assert await run.signal("approval", {"approved": "yes", "by": "Ada"}, once=True) is True
        assert await run.result(timeout=20) == "lamp by Ada: True"
        with pytest.raises(RunAlreadyClosed):
            await run.signal("approval", {"approved": "maybe"})


async def test_what_only_the_code_can_refuse_is_set_aside_and_the_run_waits_on(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await waiting(client, queue, order, "lamp")
        await run.signal("approval", {"approved": True, "by": "the cat"})
        await until(lambda: kinds(run), lambda seen: "SignalSetAside" in seen)
        await run.signal("approval", Approval(approved=True, by="Ada"))
        assert await run.result(timeout=20) == "lamp by Ada: True"


async def test_handlers_have_types_too_and_one_without_parameters_takes_no_payload(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await waiting(client, queue, cart)
        with pytest.raises(ArgumentsRejected, match="argument 'payload' does not fit: input should be a valid integer"):
            await run.signal("add", "two")
        with pytest.raises(ArgumentsRejected, match="accepted is None"):
            await run.signal("close", 1)
        await run.signal("whatever", "is parked")
        await run.signal("add", 2)
        assert await run.result(timeout=20) == 2


async def test_the_refusal_outlives_worker_and_coordinator(
    client: Client, coordinator: Coordinator, process_worker: WorkerProcessFactory, queue: str
) -> None:
    """Another replica, which has seen no worker, and this one, whose worker was killed, say the same."""
    async with process_worker("tests.support.flows_typed_signals") as killed:
        await killed.wait_for_line("ready")
        run = await waiting(client, queue, order, "lamp")
        await killed.kill()
    with pytest.raises(ArgumentsRejected, match="'approved' does not fit"):
        await run.signal("approval", {"approved": "maybe"})
    async with Client.connect(coordinator.address_of(2)) as elsewhere:
        with pytest.raises(ArgumentsRejected, match="'approved' does not fit"):
            await elsewhere.get(run.run_id).signal("approval", {"approved": "maybe"})
    await run.terminate("done")


async def test_what_code_of_another_release_takes_is_not_refused(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    later = App("typed-signals")

    @later.workflow(name="order")
    async def decided(item: str) -> str:
        decision = await receive("approval", dict[str, int])
        return f"{item}: {decision}"

    async with worker(workflows=[app]):
        old = await waiting(client, queue, order, "lamp")
    async with worker(workflows=[later]):
        new = await waiting(client, queue, decided, "chair")
        await new.signal("approval", {"by": 3})
        assert await new.result(timeout=20) == "chair: {'by': 3}"
        with pytest.raises(ArgumentsRejected, match=r"accepted is dict\[str, int\] or \{approved: bool, by\?: str\}"):
            await old.signal("approval", "maybe")
    await old.terminate("done")


async def test_the_command_line_and_the_blocking_client_say_the_same(
    client: Client, coordinator: Coordinator, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await waiting(client, queue, order, "lamp")
        command = ["runs", "signal", run.run_id, "approval", '{"approved":"maybe"}', "--address", coordinator.address]
        code, said = await module_run("holdfast", *command)
        assert code == 1
        assert "argument 'approved' does not fit" in " ".join(said.split())

        def send() -> None:
            with blocking.Client.connect(coordinator.address) as sender:
                with pytest.raises(ArgumentsRejected, match="'approved' does not fit"):
                    sender.get(run.run_id).signal("approval", {"approved": "maybe"})
                sender.get(run.run_id).signal("approval", {"approved": True})

        await asyncio.to_thread(send)
        assert await run.result(timeout=20) == "lamp by nobody: True"
