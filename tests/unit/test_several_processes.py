"""Of tests that run in several processes, one that compares times has the machine to itself, and the longest begin."""

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

pytest.importorskip("xdist", reason="pytest-xdist, of the extra dev, is not installed")

ROOT = Path(__file__).resolve().parents[2]
FILES = "abcdefz"
TESTS = """
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout({seconds})


def noted(what):
    begun = time.monotonic()
    time.sleep(0.1)  # so long that another one has begun
    with Path({seen!r}).open("a") as file:
        print("{name}", what, begun, time.monotonic(), file=file)


@pytest.mark.parametrize("number", range(2))
def test_beside_others(number):
    noted("beside")


@pytest.mark.alone
def test_alone():
    noted("alone")
"""
INI = """
[pytest]
markers = alone
"""


class Span(NamedTuple):
    """When a test has run, by the clock of the machine."""

    file: str
    what: str
    begun_at: float
    ended_at: float

    def overlaps(self, other: "Span") -> bool:
        return self.begun_at < other.ended_at and other.begun_at < self.ended_at


@pytest.fixture(scope="module")
def spans(tmp_path_factory: pytest.TempPathFactory) -> list[Span]:
    """The tests of some files that ran in two processes; z has the longest time limit."""
    folder = tmp_path_factory.mktemp("several")
    seen = folder / "seen"
    (folder / "pytest.ini").write_text(INI)
    for name in FILES:
        text = TESTS.format(name=name, seconds=600 if name == "z" else 60, seen=str(seen))
        (folder / f"test_{name}.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "tests.support.several_processes", "-p", "no:cacheprovider"]
    options = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run([*command, *options], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    lines = [line.split() for line in seen.read_text().splitlines()]
    return [Span(file, what, float(begun), float(ended)) for file, what, begun, ended in lines]


def test_a_test_that_is_to_be_alone_runs_while_no_other_does(spans: list[Span]) -> None:
    together = [pair for pair in itertools.combinations(spans, 2) if pair[0].overlaps(pair[1])]
    assert together, "nothing ran at once"
    assert [pair for pair in together if "alone" in (pair[0].what, pair[1].what)] == []


def test_the_file_that_may_take_longest_begins_first(spans: list[Span]) -> None:
    begun_at = {file: min(span.begun_at for span in spans if span.file == file) for file in FILES}
    assert begun_at["z"] < begun_at["f"]
