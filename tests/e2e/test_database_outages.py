"""While Postgres is stopped, or hangs, whoever calls is told that, and never that no coordinator answers."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator

import pytest

from holdfast.client import Client, by_name
from holdfast.errors import CoordinatorUnavailable
from holdfast_coordinator.postgres import EmbeddedPostgres
from tests.support import flows_output as flows
from tests.support.process_tree import descendants, frozen
from tests.support.processes import Process, coordinator_process, worker_process

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def said(address: str, *arguments: str) -> str:
    """The error of a command, which must fail."""
    async with Process("holdfast", [sys.executable, "-m", "holdfast", *arguments, "--address", address]) as process:
        assert await process.wait() == 1, process.output
    return process.output


async def refusal(client: Client, what: str) -> str:
    """The error of a call of a client, which must fail."""
    run = client.get("order-1")
    call = {"start": lambda: client.start(by_name("order"), "2"), "describe": run.describe, "cancel": run.cancel}[what]
    with pytest.raises(CoordinatorUnavailable) as caught:
        await call()
    return str(caught.value)


@contextlib.asynccontextmanager
async def outage(how: str) -> AsyncIterator[str]:
    """The address of a coordinator that has served, while its Postgres hangs or is stopped."""
    known = descendants(os.getpid())
    with EmbeddedPostgres(None) as database:
        guardians = descendants(os.getpid()) - known
        async with coordinator_process(database.url()) as coordinator:
            listening = await coordinator.wait_for_line(r"listens on (\S+:\d+)")
            async with worker_process(listening[1], "tests.support.flows_output") as worker:
                await worker.wait_for_line("ready")
                async with Client.connect(listening[1]) as client:
                    assert await client.run(flows.order, "1") == "1 done"
            if how == "stopped":
                database.stop()
                yield listening[1]
            else:
                with frozen({pid for guardian in guardians for pid in descendants(guardian)}):
                    yield listening[1]


@pytest.mark.timeout(90)
@pytest.mark.parametrize("how", ["hangs", "stopped"])
async def test_while_postgres_is_away_everybody_is_told_that_it_is_the_database(how: str) -> None:
    async with outage(how) as address, Client.connect(address) as client:
        answers = await asyncio.gather(
            said(address, "start", "order", "--input", '["3"]'),
            said(address, "run", "order", "--input", '["4"]'),
            said(address, "runs", "list"),
            said(address, "runs", "show", "order-1"),
            said(address, "runs", "cancel", "order-1"),
            *(refusal(client, what) for what in ("start", "describe", "cancel")),
        )
    for answer in answers:
        assert "no coordinator answers" not in answer
        assert "its database" in answer
