"""Hooks with a real coordinator: whoever has the token delivers once, and everybody else hears why not."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from holdfast import (
    ArgumentsRejected,
    HookAlreadyReceived,
    HookExpired,
    HookNotFound,
    InvalidRequest,
    blocking,
)
from holdfast.client import Client, RunHandle
from holdfast.ids import hook_token
from tests.support.flows_hooks import Payment, app, pay, pay_elsewhere, tokens
from tests.support.processes import module_run
from tests.support.watching import kinds, until, until_status

from .conftest import Coordinator, WorkerFactory, WorkerProcessFactory

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90), pytest.mark.feature("F95")]

MODULE = "tests.support.flows_hooks"


async def paying(client: Client, queue: str, timeout: str = "") -> tuple[RunHandle[str], str]:
    """A run that waits for a payment, and the token of its hook."""
    run = await client.start(pay.with_options(queue=queue), timeout)

    async def of_run() -> list[str]:
        return [token for token in tokens if token.startswith(f"hook_{run.run_id.removeprefix('run_')}_")]

    (token,) = await until(of_run, bool)
    await until_status(run, "suspended")
    return run, token


async def test_a_delivery_in_time_resumes_the_run_and_a_second_one_hears_that_it_is_late(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run, token = await paying(client, queue, "30s")
        await client.deliver(token, {"amount": 3, "by": "Ada"})
        assert await run.result(timeout=20) == "3 by Ada"
        with pytest.raises(HookAlreadyReceived, match="has already received something, and it takes one payload"):
            await client.deliver(token, {"amount": 4})


async def test_after_its_time_a_hook_has_expired(client: Client, worker: WorkerFactory, queue: str) -> None:
    async with worker(workflows=[app]):
        run = await client.start(pay.with_options(queue=queue), "1s")
        assert await run.result(timeout=20) == "nothing was delivered to the hook 'payment' in time"
        token = next(one for one in tokens if one.startswith(f"hook_{run.run_id.removeprefix('run_')}_"))
        with pytest.raises(HookExpired, match="its timeout has passed"):
            await client.deliver(token, {"amount": 3})


async def test_what_is_no_token_is_invalid_and_a_token_of_no_hook_is_not_found(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    for malformed in ("abc", "", "hook_", "run_00" + "0" * 26, "hook_" + "u" * 28 + "_1_" + "0" * 26):
        with pytest.raises(InvalidRequest, match="token: is no token of a hook"):
            await client.deliver(malformed, 1)
    async with worker(workflows=[app]):
        run, token = await paying(client, queue)
        unknown = [
            hook_token("run_00" + "0" * 26, 1, bytes(16)),
            hook_token("run_zz" + "0" * 26, 1, bytes(16)),
            hook_token(run.run_id, 1, bytes(16)),
            hook_token(run.run_id, 2, bytes(16)),
        ]
        for one in unknown:
            with pytest.raises(HookNotFound, match="no hook has this token"):
                await client.deliver(one, {"amount": 3})
        assert await run.status() == "suspended"
        await client.deliver(token, Payment(amount=3))
        assert await run.result(timeout=20) == "3 by nobody"
        with pytest.raises(HookNotFound):
            await client.deliver(unknown[2], {"amount": 3})


async def test_repeats_with_one_request_id_are_one_delivery(client: Client, worker: WorkerFactory, queue: str) -> None:
    async with worker(workflows=[app]):
        run, token = await paying(client, queue)
        for _ in range(3):
            await client.deliver(token, {"amount": 3}, request_id="event-7")
        assert await run.result(timeout=20) == "3 by nobody"
        await client.deliver(token, {"amount": 3}, request_id="event-7")
        with pytest.raises(HookAlreadyReceived):
            await client.deliver(token, {"amount": 3}, request_id="event-8")


async def test_a_payload_that_does_not_fit_leaves_the_hook_open(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run, token = await paying(client, queue)
        with pytest.raises(ArgumentsRejected, match=r"'hook payment': argument 'amount' does not fit: .* \{amount"):
            await client.deliver(token, {"amount": "much"})
        await client.deliver(token, {"amount": 3, "by": "the cat"})
        await until(lambda: kinds(run), lambda seen: seen.count("TimerSet") == 2)
        assert "SignalSetAside" in await kinds(run)
        await client.deliver(token, {"amount": 4, "by": "Ada"})
        assert await run.result(timeout=20) == "4 by Ada"
        with pytest.raises(HookAlreadyReceived):
            await client.deliver(token, {"amount": 4})


async def test_of_many_deliveries_at_once_over_two_replicas_one_is_taken(
    client: Client, coordinator: Coordinator, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]), Client.connect(coordinator.address_of(1)) as elsewhere:
        run, token = await paying(client, queue)
        senders = [client, elsewhere] * 10
        answers = await asyncio.gather(
            *(sender.deliver(token, {"amount": number}) for number, sender in enumerate(senders)),
            return_exceptions=True,
        )
        taken = [number for number, answer in enumerate(answers) if answer is None]
        assert len(taken) == 1
        assert {type(answer) for answer in answers} == {type(None), HookAlreadyReceived}
        assert await run.result(timeout=20) == f"{taken[0]} by nobody"


async def test_a_hook_outlives_the_worker_that_made_it_and_its_token_is_given_out_once(
    client: Client, process_worker: WorkerProcessFactory, queue: str, tmp_path: Path
) -> None:
    path = tmp_path / "tokens"
    async with process_worker(MODULE) as killed:
        await killed.wait_for_line("ready")
        run: RunHandle[Any] = await client.start(pay_elsewhere.with_options(queue=queue), str(path))
        await until_status(run, "suspended")
        await killed.kill()
    (token,) = path.read_text().split()
    await client.deliver(token, {"amount": 3, "by": "Ada"})
    async with process_worker(MODULE):
        assert await run.result(timeout=40) == "3 by Ada"
    assert path.read_text().split() == [token]
    with pytest.raises(HookAlreadyReceived):
        await client.deliver(token, {"amount": 3})


async def test_the_command_line_and_the_blocking_client_deliver_too(
    client: Client, coordinator: Coordinator, worker: WorkerFactory, queue: str
) -> None:
    to = ["--address", coordinator.address]
    async with worker(workflows=[app]):
        run, token = await paying(client, queue)
        code, said = await module_run("holdfast", "hooks", "deliver", token, "--payload", '{"amount":"much"}', *to)
        assert (code, "argument 'amount' does not fit" in " ".join(said.split())) == (1, True), said
        code, said = await module_run("holdfast", "hooks", "deliver", token, "--payload", '{"amount":3}', *to)
        assert (code, said) == (0, "delivered\n")
        assert await run.result(timeout=20) == "3 by nobody"

        def deliver() -> None:
            with blocking.Client.connect(coordinator.address) as sender, pytest.raises(HookAlreadyReceived):
                sender.deliver(token, {"amount": 3})

        await asyncio.to_thread(deliver)
