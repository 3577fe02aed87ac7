"""Fixtures of the tests that ask a real Jaeger what it shows. `make trace-test` builds one and runs them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .server import Jaeger, running_jaeger

PROGRAM_VARIABLE = "HOLDFAST_JAEGER"


@pytest.fixture(scope="session")
def jaeger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jaeger]:
    """One Jaeger for all tests."""
    program = os.environ.get(PROGRAM_VARIABLE)
    if not program:
        pytest.skip("asks a real Jaeger; `make trace-test` builds one with Go and runs this")
    with running_jaeger(Path(program), tmp_path_factory.mktemp("jaeger")) as running:
        yield running
