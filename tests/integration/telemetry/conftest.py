"""What replicas that export their runs are tested with; some suites have a collector of their own."""

from collections.abc import AsyncIterator

import pytest
from traced_cells import Clock

from holdfast_coordinator.store.cell import PostgresCellStore
from holdfast_coordinator.store.port import CellStore
from tests.model.cell import ModelCellStore
from tests.otlp_sink import OtlpSink, otlp_sink


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
        yield ModelCellStore(clock)
    else:
        async with PostgresCellStore.open(request.getfixturevalue("database"), "00") as cell:
            yield cell


@pytest.fixture
def cell(clock: Clock) -> ModelCellStore:
    """A cell store in memory."""
    return ModelCellStore(clock)
