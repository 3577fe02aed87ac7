"""Clients that ask two coordinators about the same few ids at once, while one of them is killed: every answer fits."""

import asyncio
import random
import signal
from collections import Counter

import pytest

from tests.chaos.courier_clients import CourierClient, History, fates_of
from tests.chaos.courier_model import CourierModel, Look, Signal, Start, Started
from tests.chaos.linearizability import check_linearizable
from tests.support.cell_rows import read_cell
from tests.support.ledger import Ledger
from tests.support.processes import coordinator_process, free_port, worker_process

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEYS = ("order-1", "order-2", "order-3")
CLIENTS = 6
QUESTIONS = 70


async def test_answers_about_one_id_have_an_order_although_a_coordinator_is_killed(
    module_database: str, ledger: Ledger, queue: str
) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    ports = [free_port(), free_port()]
    addresses = [f"127.0.0.1:{port}" for port in ports]
    module, history = "tests.support.flows_courier", History()
    async with (
        coordinator_process(module_database, port=ports[0]) as staying,
        coordinator_process(module_database, port=ports[1]) as killed,
    ):
        await asyncio.gather(*(process.wait_for_line("listens on") for process in (staying, killed)))
        async with (
            worker_process(addresses[0], module, queue=queue) as one,
            worker_process(addresses[1], module, queue=queue) as two,
        ):
            await asyncio.gather(*(worker.wait_for_line("ready") for worker in (one, two)))
            clients = [
                CourierClient(f"c{number}", addresses, history, ledger=ledger.path, queue=queue)
                for number in range(CLIENTS)
            ]
            left, half_way = CLIENTS * QUESTIONS, asyncio.Event()

            def asked_one() -> None:
                nonlocal left
                left -= 1
                if left <= CLIENTS * QUESTIONS / 2:
                    half_way.set()

            async with asyncio.TaskGroup() as asking:
                for number, client in enumerate(clients):
                    rng = random.Random(f"{seed}/{number}")
                    asking.create_task(client.ask_on(rng, KEYS, questions=QUESTIONS, asked_one=asked_one))
                await half_way.wait()
                killed.send(signal.SIGKILL)
                assert await killed.wait() == -signal.SIGKILL
                await killed.start()
            await asyncio.gather(*(client.settle(key) for client, key in zip(clients, KEYS, strict=False)))
            await look_at_all_runs(clients[0])
            for client in clients:
                await client.close()
    rows = read_cell(module_database)
    assert not rows.open_runs, "every courier has been told to end"
    check_linearizable(CourierModel(fates=fates_of(rows)), history.operations)
    asked = Counter(type(one.asked).__name__ for one in history.operations if one.returned_at is not None)
    print(asked, len(history.unanswered), "without an answer,", history.never_sent, "never sent")
    assert min(asked[kind] for kind in ("Start", "Signal", "Cancel", "Terminate", "Retry", "Look")) > 5, asked
    assert len(history.unanswered) <= len(history.operations) / 10, "too little is known for a verdict"


async def look_at_all_runs(client: CourierClient) -> None:
    """Asks of every run that anybody was told of what has become of it."""
    operations = client.history.operations
    runs = {(one.key, one.answer.run_id) for one in operations if isinstance(one.answer, Started)}
    for key, run_id in sorted(runs):
        await client.ask(key, Look(run_id), of=0)
    assert {type(one.asked) for one in operations} >= {Start, Signal}
