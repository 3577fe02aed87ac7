"""What replicas that export their runs are tested with; some suites have a collector of their own."""

from collections.abc import AsyncIterator

import pytest

from holdfast_coordinator.store.cell import PostgresCellStore
from holdfast_coordinator.store.port import CellStore
from tests.support.memory_cell_store import MemoryCellStore
from tests.support.otlp_sink import OtlpSink, otlp_sink
from tests.support.traced_cells import Clock


@pytest.fixture
def clock() -> Clock:
    """The time of the database."""
    return Clock()


@pytest.fixture
async def sink() -> AsyncIterator[OtlpSink]:
    """A collector."""
    async with otlp_sink() as sink:
        yield sink


@pytest.fixture(params=["model", "postgres"])
async def store(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[CellStore]:
    """Each cell store, where it matters."""
    if request.param == "model":
        yield MemoryCellStore(clock)
    else:
        async with PostgresCellStore.open(request.getfixturevalue("database"), "00") as cell:
            yield cell


@pytest.fixture
def cell(clock: Clock) -> MemoryCellStore:
    """A cell store in memory."""
    return MemoryCellStore(clock)
