"""docs/reliability.md names every fault of the nemesis and everything that is checked after a chaos run."""

from pathlib import Path

import pytest

from tests.chaos.nemesis import FAULTS_OF_MACHINES, FAULTS_OF_NETWORK
from tests.chaos.verdict import CHECKERS_OF_A_RUN

PAGE = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text()


@pytest.mark.parametrize("fault", [*FAULTS_OF_MACHINES, *FAULTS_OF_NETWORK])
def test_every_fault_has_its_row(fault: str) -> None:
    assert fault in PAGE


@pytest.mark.parametrize("checker", CHECKERS_OF_A_RUN, ids=lambda checker: checker.__name__)
def test_everything_that_is_checked_has_its_row(checker: object) -> None:
    assert checker.__name__.replace("_", " ") in PAGE  # type: ignore[attr-defined]
