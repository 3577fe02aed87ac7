"""Fixtures of the end-to-end tests: a real coordinator process for each test module, clients, workers.

After every test the invariants are checked on the rows that it left in Postgres.
"""

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from holdfast.client import Client
from holdfast.worker import Worker
from holdfast_coordinator.postgres import EmbeddedPostgres

from ..invariants import check
from .cell_rows import read_cell
from .ledger import Ledger
from .processes import Process, coordinator_process, worker_process

_numbers = itertools.count(1)

WorkerFactory = Callable[..., AbstractAsyncContextManager[Worker]]
WorkerProcessFactory = Callable[..., AbstractAsyncContextManager[Process]]


@dataclass(slots=True, frozen=True)
class Coordinator:
    """A coordinator process that serves."""

    process: Process
    address: str
    database_url: str


@pytest.fixture(scope="module")
def module_database(postgres_url: str, postgres_server: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    """A migrated database for the tests of one module."""
    name = f"e2e_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE {name} TEMPLATE {migrated_template} OWNER holdfast STRATEGY file_copy".encode()
        )
    yield postgres_server.url(database=name)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def coordinator(module_database: str) -> AsyncIterator[Coordinator]:
    """A coordinator process for the tests of one module, with the namespaces default and other."""
    options = ["--namespace", "other"]
    async with coordinator_process(module_database, options=options) as process:
        match = await process.wait_for_line(r"listens on (\S+:\d+)")
        yield Coordinator(process, match.group(1), module_database)
        assert not process.has_ended, f"the coordinator ended by itself:\n{process.output}"


@pytest_asyncio.fixture(loop_scope="module")
async def client(coordinator: Coordinator) -> AsyncIterator[Client]:
    """A client of the module's coordinator."""
    async with Client.connect(coordinator.address) as connected:
        yield connected


@pytest.fixture(autouse=True)
def _invariants_hold(request: pytest.FixtureRequest) -> Iterator[None]:
    """Checks the rows of the module's database after every test that used it."""
    url = request.getfixturevalue("module_database") if "module_database" in request.fixturenames else None
    yield
    if url is not None:
        check(read_cell(url))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A file in which steps write down that they were executed."""
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def queue() -> str:
    """A queue that no other test uses."""
    return f"queue-{next(_numbers)}"


@pytest.fixture
def worker(client: Client, queue: str) -> WorkerFactory:
    """`async with worker(workflows=[...])`: a worker inside the test's process, on the test's queue."""

    @asynccontextmanager
    async def running(**options: Any) -> AsyncIterator[Worker]:
        made = Worker(options.pop("client", client), options.pop("queue", queue), **options)
        task = asyncio.create_task(made.run())
        ready = asyncio.create_task(made.ready())
        await asyncio.wait((task, ready), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await asyncio.gather(ready, return_exceptions=True)
            task.result()
        try:
            yield made
        finally:
            made.stop()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            ready.cancel()

    return running


@pytest.fixture
def process_worker(coordinator: Coordinator, queue: str) -> WorkerProcessFactory:
    """`async with process_worker("module")`: a worker process on the test's queue."""

    @asynccontextmanager
    async def running(*modules: str, **options: Any) -> AsyncIterator[Process]:
        options.setdefault("queue", queue)
        async with worker_process(coordinator.address, *modules, **options) as process:
            yield process

    return running
