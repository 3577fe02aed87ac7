"""Coordinators that are killed with SIGKILL and come back."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from holdfast.client import Client
from holdfast.statuses import RunStatus
from tests.support import flows_restart as flows
from tests.support.ledger import Ledger
from tests.support.processes import Process, coordinator_process, free_port, worker_process
from tests.support.watching import until, until_status

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODULE = "tests.support.flows_restart"
RUNS = 500
SLEEPERS = 1_000
KILLS = 2


@asynccontextmanager
async def serving(database_url: str, port: int) -> AsyncIterator[Process]:
    """A coordinator on a port of the caller's choice, so that another one can take its place."""
    async with coordinator_process(database_url, port=port) as process:
        await process.wait_for_line("listens on")
        yield process


@pytest.mark.feature("F52", "F141")
async def test_every_run_completes_once_although_the_coordinator_is_killed_again_and_again(
    module_database: str, ledger: Ledger
) -> None:
    port, seed = free_port(), random.randrange(1 << 30)
    print(f"seed {seed}")
    kill_after = sorted(random.Random(seed).sample(range(20, 3 * RUNS - 200), KILLS))
    address = f"127.0.0.1:{port}"
    names = [str(number) for number in range(RUNS)]
    async with (
        worker_process(address, MODULE, queue="load") as one,
        worker_process(address, MODULE, queue="load") as two,
        Client.connect(address, timeout=None, retry_for="30s") as client,
    ):
        waiting: asyncio.Task[list[str]] | None = None
        for lines in kill_after:
            async with serving(module_database, port) as coordinator:
                if waiting is None:
                    workflow = flows.three_steps.with_options(queue="load")
                    starting = client.start_many(workflow, [(ledger.path, name) for name in names])
                    waiting = asyncio.create_task(_results(client, asyncio.ensure_future(starting)))
                await _length(ledger, lines)
                await coordinator.kill()
        assert waiting is not None
        assert not waiting.done(), f"seed {seed}: the last kill came too late"
        async with serving(module_database, port):
            assert await asyncio.wait_for(waiting, 30) == names
        assert "dead" not in one.output + two.output
    assert ledger.counts == {f"{step} {name}": 1 for step in ("first", "second", "third") for name in names}


async def _length(ledger: Ledger, lines: int) -> None:
    """Waits until steps have written so many lines."""

    async def look() -> int:
        return len(ledger.lines)

    await until(look, lambda seen: seen >= lines, seconds=20)


async def _results(client: Client, starting: "asyncio.Future[list[object]]") -> list[str]:
    results: list[str] = await client.wait_many(await starting)
    return results


@pytest.mark.feature("F47", "F69", "F77", "F78")
async def test_what_waits_survives_the_end_of_worker_and_coordinator(module_database: str, ledger: Ledger) -> None:
    port = free_port()
    address = f"127.0.0.1:{port}"
    async with Client.connect(address, timeout=None, retry_for="30s") as client:
        async with (
            serving(module_database, port) as coordinator,
            worker_process(address, MODULE, queue="wait", options=["--concurrency", "1"]) as worker,
        ):
            retrying = await client.start(flows.retries_later.with_options(queue="wait"), ledger.path)
            sleepers = await client.start_many(flows.sleeps_for.with_options(queue="wait"), [4.0] * SLEEPERS)
            moment = datetime.now(UTC) + timedelta(seconds=2.5)
            sleeping = await client.start(flows.sleeps_until.with_options(queue="wait"), moment)
            listening = await client.start(flows.waits_for_word.with_options(queue="wait"))
            await ledger.wait_for("fails_once 1")
            failed_at = time.monotonic()
            await asyncio.gather(*(until_status(run, "suspended") for run in (retrying, sleepers[-1], listening)))
            # Neither the retry nor a thousand sleepers hold the only slot.
            began = time.monotonic()
            quick = await client.start(flows.quick.with_options(queue="wait"), ledger.path)
            assert await quick.result(timeout=3) == "quick"
            assert time.monotonic() - began < 2
            assert await listening.status() is RunStatus.SUSPENDED
            await asyncio.gather(coordinator.kill(), worker.kill())
        await asyncio.sleep(max(0.0, (moment - datetime.now(UTC)).total_seconds() + 0.2))
        async with serving(module_database, port), worker_process(address, MODULE, queue="wait"):
            assert await client.get(quick.run_id).result(timeout=10) == "quick"
            assert await sleeping.result(timeout=10) == "awake"
            assert await retrying.result(timeout=10) == 2
            assert time.monotonic() - failed_at >= 4.9
            assert await client.wait_many(sleepers, timeout=20) == [4.0] * SLEEPERS
            await listening.signal("word", "hello")
            assert await listening.result(timeout=10) == "hello"
    assert ledger.counts == {"fails_once 1": 1, "fails_once 2": 1, "first quick": 1}


@pytest.mark.feature("F135")
async def test_two_coordinators_that_start_on_an_empty_database_at_once_both_serve(empty_database: str) -> None:
    async with coordinator_process(empty_database) as one, coordinator_process(empty_database) as two:
        addresses = [
            match.group(1)
            for match in await asyncio.gather(*(each.wait_for_line(r"listens on (\S+:\d+)") for each in (one, two)))
        ]
        async with (
            Client.connect(addresses[0]) as here,
            Client.connect(addresses[1]) as there,
            worker_process(addresses[1], MODULE, queue="both"),
        ):
            run = await here.start(flows.sleeps_for.with_options(queue="both"), 0.1)
            assert await there.get(run.run_id).result(timeout=10) == 0.1
            assert await run.result(timeout=10) == 0.1
