"""The list of features and the tests that are marked to show them: what is printed of them."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.feature_rows import read_rows

ROOT = Path(__file__).resolve().parents[2]
ROWS = """
["First"]
F1 = "the sun rises"
F2 = "water is dry"
F3 = { says = "grass grows", part = "at night" }
["Second"]
F4 = "nobody has tried"
F5 = { says = "pigs fly", state = "later" }
F6 = "snow falls"
"""
TESTS = """
import pytest


@pytest.mark.feature("F1", "F3")
@pytest.mark.parametrize("day", range(3))
def test_every_morning(day):
    pass


@pytest.mark.feature("F2")
@pytest.mark.parametrize("is_wet", [True, False])
def test_water(is_wet):
    assert not is_wet


@pytest.mark.feature("F6")
@pytest.mark.skip(reason="it is summer")
def test_snow():
    pass


def test_something_else():
    raise AssertionError
"""
PRINTED = """
First
  F1    passed   the sun rises
          passed   test_nature.py::test_every_morning
  F2    failed   water is dry
          failed   test_nature.py::test_water
  F3    partly   grass grows; missing: at night
          passed   test_nature.py::test_every_morning
Second
  F4    missing  nobody has tried
  F5    later    pigs fly
  F6    skipped  snow falls
          skipped  test_nature.py::test_snow
6 rows: 1 passed, 1 failed, 1 partly, 1 missing, 1 later, 1 skipped
"""


def features(folder: Path, tests: str, *options: str) -> subprocess.CompletedProcess[str]:
    """What pytest says of a project with this one file of tests."""
    (folder / "tests").mkdir()
    (folder / "tests" / "features.toml").write_text(ROWS)
    (folder / "test_nature.py").write_text(tests)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = feature\n")
    command = [sys.executable, "-m", "pytest", "-m", "feature", "-p", "tests.support.feature_rows", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["one process", "two processes"])
def test_each_row_is_printed_with_its_tests_and_a_failed_one_is_the_exit_code(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    ran = features(tmp_path, TESTS, *options)
    assert PRINTED in ran.stdout
    assert ran.returncode == 1
    assert "test_something_else" not in ran.stdout


def test_what_has_not_run_is_said_not_to_have(tmp_path: Path) -> None:
    ran = features(tmp_path, TESTS, "--collect-only")
    assert "  F1    not run  the sun rises\n" in ran.stdout
    assert ran.returncode == 0


def test_a_test_that_ends_its_process_has_failed_though_nothing_is_known_of_its_row(tmp_path: Path) -> None:
    ran = features(tmp_path, "import os\n" + TESTS.replace("    assert not is_wet", "    os._exit(3)"), "-n", "1")
    assert "failed, and shows no row: test_nature.py::test_water[" in ran.stdout
    assert ran.returncode == 1


def test_a_test_that_shows_no_row_of_the_list_is_refused(tmp_path: Path) -> None:
    ran = features(tmp_path, TESTS.replace('"F6"', '"F7"'))
    assert "test_nature.py::test_snow shows 'F7', which is no row of tests/features.toml" in ran.stdout + ran.stderr
    assert ran.returncode == 4


def marked() -> Iterator[tuple[str, str]]:
    """Each file of tests with each row that it is marked with."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.feature":
                assert node.args, f"{path}:{node.lineno} shows nothing"
                for argument in node.args:
                    yield str(path.relative_to(ROOT)), str(ast.literal_eval(argument))


def test_the_list_is_whole_and_every_mark_is_one_of_its_rows() -> None:
    rows = read_rows(ROOT / "tests" / "features.toml")
    assert list(rows) == [f"F{number}" for number in range(1, len(rows) + 1)]
    assert {row.state for row in rows.values()} == {"", "later", "dropped"}
    shown = list(marked())
    assert len(shown) > 200
    assert [(path, id) for path, id in shown if id not in rows] == []
    assert {id for _, id in shown} & {row.id for row in rows.values() if row.state} == set()
    assert [row.id for row in rows.values() if row.part and row.id not in {id for _, id in shown}] == []
