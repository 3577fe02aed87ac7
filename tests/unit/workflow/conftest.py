"""Fixtures of the tests of workflow code."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _young_heap() -> Iterator[None]:
    """The garbage collector looks at what the test itself has made: the heap of a session takes 0.1 s each time."""
    gc.freeze()
    yield
    gc.unfreeze()
