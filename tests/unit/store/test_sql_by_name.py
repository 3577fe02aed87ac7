"""SQL says states, kinds and statuses by name, and answers are read by name. Migrations are history."""

import re
from pathlib import Path

import pytest

from holdfast_coordinator import store

MODULES = sorted(Path(store.__file__).parent.glob("*.py"))
NUMBERED = re.compile(r"\b(state|status|kind)\b\s*(=|<>|<=?|>=?|IS NOT DISTINCT FROM|BETWEEN|IN)\s*\(?\d")
BY_PLACE = re.compile(r"\brows?\[-?[1-9]\d*\]|\brows?\[0\]\[")


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.stem)
def test_no_state_stands_in_sql_as_a_number_and_no_column_is_read_by_its_place(module: Path) -> None:
    lines = module.read_text("utf-8").splitlines()
    assert [line for line in lines if NUMBERED.search(line) or BY_PLACE.search(line)] == []


@pytest.mark.parametrize(
    "line", ["WHERE o.state = 1 AND", "x.kind < 6", "o.state IN (4, 5)", "size += len(row[5])", "answer.rows[0][0]"]
)
def test_such_lines_would_be_found(line: str) -> None:
    assert NUMBERED.search(line) or BY_PLACE.search(line)
