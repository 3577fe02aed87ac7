"""B15: two coordinators on one cell beside a single one, and mail that comes through the one for a run of the other."""

import asyncio
import random
import statistics
import time
from contextlib import AsyncExitStack

from holdfast import RunStatus
from holdfast.client import Client

from . import flows
from .cases import NANOSECONDS_PER_MS, run_all
from .figures import percentile
from .sizes import Say, Sizes
from .stack import Stack, stack

FIGURES = ("B15", "B15.mail_p50", "B15.mail_p99")
REPLICAS = 2
WORKERS = 2
MAIL_QUEUE = "mail"
MAIL_PAUSE_SECONDS = (0.02, 0.12)
ANSWER_SECONDS = 60.0
LOOK_SECONDS = 0.05


async def measure_two_replicas(sizes: Sizes, say: Say) -> dict[str, list[float]]:
    """B15: of each pair of loads, runs per second with two replicas over those with one; of each round, the mail."""
    found: dict[str, list[float]] = {name: [] for name in FIGURES}
    async with AsyncExitStack() as exits:
        one = await exits.enter_async_context(stack(workers=WORKERS))
        two = await exits.enter_async_context(stack(workers=WORKERS, queues=(MAIL_QUEUE,), replicas=REPLICAS))
        # As many clients in both: two of them start and await more in a second than one.
        clients = {id(running): await _clients(exits, running) for running in (one, two)}
        for running in (one, two):
            await _runs_per_second(clients[id(running)], max(sizes.one_step_runs // 5, REPLICAS), sizes)
        for number in range(sizes.pairs):
            say(f"B15: pair {number + 1} of {sizes.pairs}")
            # Who goes first takes turns: what the second finds is not what the first found.
            order = (one, two) if number % 2 else (two, one)
            rates = {id(running): await _runs_per_second(clients[id(running)], sizes.one_step_runs, sizes)
                     for running in order}  # fmt: skip
            found["B15"].append(rates[id(two)] / rates[id(one)])
        here, there = clients[id(two)]
        for number in range(sizes.rounds):
            say(f"B15: mail, round {number + 1} of {sizes.rounds}")
            took_ms = await _mail_ms(here, there, sizes.mails)
            found["B15.mail_p50"].append(statistics.median(took_ms))
            found["B15.mail_p99"].append(percentile(took_ms, 0.99))
    return found


async def _clients(exits: AsyncExitStack, running: Stack) -> tuple[Client, Client]:
    """Two clients, which take turns at the replicas."""
    first, last = running.addresses[0], running.addresses[-1]
    return await exits.enter_async_context(Client.connect(first)), await exits.enter_async_context(Client.connect(last))


async def _runs_per_second(clients: tuple[Client, Client], count: int, sizes: Sizes) -> float:
    """B1, by both clients at once."""
    each, in_flight = count // len(clients), sizes.in_flight // len(clients)
    began = time.perf_counter()
    await asyncio.gather(*(run_all(client, flows.one_step, each, in_flight=in_flight) for client in clients))
    return each * len(clients) / (time.perf_counter() - began)


async def _mail_ms(here: Client, there: Client, count: int) -> list[float]:
    """Milliseconds from each signal through `there` to the step behind it, in a run whose worker is attached `here`."""
    run = await here.start(flows.answers.with_options(queue=MAIL_QUEUE), count, flows.PAYLOAD)
    while await run.status() != RunStatus.RUNNING:  # noqa: ASYNC110 - the coordinator tells nobody
        await asyncio.sleep(LOOK_SECONDS)
    other = there.get(run.run_id)
    sent_at = []
    for _ in range(count):
        # At any distance to whatever is done every so often.
        await asyncio.sleep(random.uniform(*MAIL_PAUSE_SECONDS))
        sent_at.append(time.monotonic_ns())
        await other.signal("ping")
    answered_at = await run.result(timeout=ANSWER_SECONDS)
    return [(at - sent) / NANOSECONDS_PER_MS for sent, at in zip(sent_at, answered_at, strict=True)]
