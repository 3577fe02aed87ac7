"""The stores that the suites here run on."""

from collections.abc import AsyncIterator

import pytest

from holdfast_coordinator.store.cell import PostgresCellStore
from holdfast_coordinator.store.port import CellStore
from tests.support.memory_cell_store import MemoryCellStore


@pytest.fixture(params=["model", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[CellStore]:
    """Each cell store: the contract holds for both."""
    if request.param == "model":
        yield MemoryCellStore()
    else:
        async with PostgresCellStore.open(request.getfixturevalue("database"), "00") as cell:
            yield cell


@pytest.fixture
async def cell(database: str) -> AsyncIterator[PostgresCellStore]:
    """A cell store on Postgres."""
    async with PostgresCellStore.open(database, "00") as opened:
        yield opened
