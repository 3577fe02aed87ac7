"""Fixtures of the end-to-end tests: a real coordinator process for each test module, clients, workers.

After every test the invariants are checked on the rows that it left in Postgres. With HOLDFAST_TEST_REPLICAS=3 there
are three coordinators for each module: clients use the first, workers in the test's process the second, worker
processes the third. HOLDFAST_DOORBELL=off reaches every coordinator, so that replicas find things by looking only.
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

import pytest
import pytest_asyncio

from holdfast.client import Client
from holdfast.worker import Worker
from tests.support.cell_rows import read_cell
from tests.support.invariants import check
from tests.support.ledger import Ledger
from tests.support.processes import Process, coordinator_process, worker_process

_numbers = itertools.count(1)
REPLICAS = int(os.environ.get("HOLDFAST_TEST_REPLICAS", "1"))
LOOK_SECONDS = 1.0 if REPLICAS > 1 else 0.0
"""How long what another replica did may take to be found; added to the bounds of tests that measure."""
LISTENS_ON = r'(?:listens on |"serving_begun", "address": ")(\S+:\d+)'
"""What a coordinator's log says first, as text or as JSON; the group is its address."""

WorkerFactory = Callable[..., AbstractAsyncContextManager[Worker]]
WorkerProcessFactory = Callable[..., AbstractAsyncContextManager[Process]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each replica takes as long to start as the first, and that counts as time of the test that needs it first."""
    for item in items if REPLICAS > 1 else ():
        marker = item.get_closest_marker("timeout")
        if marker is not None and marker.args:
            item.add_marker(pytest.mark.timeout(marker.args[0] * REPLICAS), append=False)


@dataclass(slots=True, frozen=True)
class Coordinator:
    """A coordinator process that serves, and the addresses of all its replicas, itself first."""

    process: Process
    address: str
    database_url: str
    addresses: tuple[str, ...] = ()

    def address_of(self, number: int) -> str:
        """The address of a replica; of another one where there are not so many."""
        addresses = self.addresses or (self.address,)
        return addresses[number % len(addresses)]


@asynccontextmanager
async def replicas(database_url: str, *options: str) -> AsyncIterator[Coordinator]:
    """REPLICAS coordinator processes on one database, of which none may end by itself."""
    async with contextlib.AsyncExitStack() as stack:
        processes = [
            await stack.enter_async_context(coordinator_process(database_url, options=options)) for _ in range(REPLICAS)
        ]
        listening = [await process.wait_for_line(LISTENS_ON) for process in processes]
        addresses = tuple(match.group(1) for match in listening)
        yield Coordinator(processes[0], addresses[0], database_url, addresses)
        for process in processes:
            assert not process.has_ended, f"the coordinator ended by itself:\n{process.output}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def coordinator(module_database: str) -> AsyncIterator[Coordinator]:
    """A coordinator process for the tests of one module, with the namespaces default and other."""
    async with replicas(module_database, "--namespace", "other") as serving:
        yield serving


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


@pytest_asyncio.fixture(loop_scope="module")
async def worker_client(coordinator: Coordinator, client: Client) -> AsyncIterator[Client]:
    """The client that says where the workers of the test's process find their coordinator."""
    if REPLICAS == 1:
        yield client
    else:
        async with Client.connect(coordinator.address_of(1)) as connected:
            yield connected


@pytest.fixture
def worker(worker_client: Client, queue: str) -> WorkerFactory:
    """`async with worker(workflows=[...])`: a worker inside the test's process, on the test's queue."""

    @asynccontextmanager
    async def running(**options: Any) -> AsyncIterator[Worker]:
        made = Worker(options.pop("client", worker_client), options.pop("queue", queue), **options)
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
        async with worker_process(coordinator.address_of(2), *modules, **options) as process:
            yield process

    return running
