"""The spans of hand-written journals, whole: golden/*.txt shows them as trees.

HOLDFAST_WRITE_GOLDEN=1 writes the files anew; read the difference before you commit it.
"""

import os

import pytest

from tests.support.golden_journals import SCENARIOS, Scenario
from tests.support.golden_trees import FOLDER, drawn, golden
from tests.support.written_journals import spans_of


def check(name: str, found: str) -> None:
    if os.environ.get("HOLDFAST_WRITE_GOLDEN"):
        (FOLDER / f"{name}.txt").write_text(found)
    assert found == golden(name)


@pytest.mark.parametrize("name", [scenario.__name__ for scenario in SCENARIOS])
def test_a_journal_becomes_the_tree_that_a_person_would_draw(name: str) -> None:
    (scenario,) = [one for one in SCENARIOS if one.__name__ == name]
    written: Scenario = scenario()
    check(name, drawn(spans_of(*written)))
