"""Fixtures of the tests of the pure core."""

from collections.abc import Iterator

import pytest

from tests.support.core_cell import CoreCell
from tests.support.invariants import check


@pytest.fixture
def cell() -> Iterator[CoreCell]:
    """An empty cell. After the test its rows must keep every invariant."""
    cell = CoreCell()
    yield cell
    check(cell.rows())
