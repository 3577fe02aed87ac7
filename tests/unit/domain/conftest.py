"""Fixtures of the tests of the pure core."""

from collections.abc import Iterator

import pytest
from memory_cell import MemoryCell

from tests.invariants import check


@pytest.fixture
def cell() -> Iterator[MemoryCell]:
    """An empty cell. After the test its rows must keep every invariant."""
    cell = MemoryCell()
    yield cell
    check(cell.rows())
