"""Random programs under random faults, for two minutes; `make chaos` does so for longer.

A file of its own: it takes as long as all other slow tests of chaos together, and files run side by side.
"""

import os

import pytest

from tests.support.processes import module_run

SEED = os.environ.get("SEED", "1")
MINUTES = "2"


@pytest.mark.feature("F52", "F142")
@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_two_minutes_of_random_faults_lose_double_and_stop_nothing() -> None:
    code, output = await module_run("tests.chaos", "--seed", SEED, "--minutes", MINUTES)
    assert code == 0, output
