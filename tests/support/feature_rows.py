"""What `make features` prints: each row of tests/features.toml, the tests that show it, and what came of them.

A plugin of pytest, `-p tests.support.feature_rows`. A test says which rows it shows by `@pytest.mark.feature("F1")`.
Never decides which tests run, nor the exit code.
"""

import tomllib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

WORST_FIRST = ("failed", "not run", "passed", "skipped")
"""The outcome of several tests is the first of these that one of them has."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a user finds. part: what no test shows yet. state: "later" or "dropped", or empty where a test is due."""

    id: str
    section: str
    says: str
    part: str = ""
    state: str = ""


def read_rows(path: Path) -> dict[str, Row]:
    """The rows of a list, by id, in its order. Raises TypeError when a row has a key that there is not."""
    rows = {}
    for section, lines in tomllib.loads(path.read_text(encoding="utf-8")).items():
        for id, line in lines.items():
            rows[id] = Row(id, section, **({"says": line} if isinstance(line, str) else line))
    return rows


def worst(outcomes: Collection[str]) -> str:
    """The outcome of some tests together; of none it is "missing"."""
    return next((outcome for outcome in WORST_FIRST if outcome in outcomes), "missing")


class FeatureRows:
    """Gathers what tests show and how they ended, and tells it at the end."""

    def __init__(self, rows: Mapping[str, Row]) -> None:
        self._rows = rows
        self._outcomes = defaultdict[str, dict[str, str]](dict)
        self._elsewhere: list[str] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Every row that a test names is in its reports, and so comes from other processes too."""
        for item in session.items:
            for id in sorted({id for marker in item.iter_markers("feature") for id in marker.args}):
                if id not in self._rows:
                    raise pytest.UsageError(f"{item.nodeid} shows {id!r}, which is no row of tests/features.toml")
                item.user_properties.append(("feature", id))
                self._note(id, item.nodeid, "not run")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """An outcome; what passes is known when it has been called."""
        ids = [str(value) for name, value in report.user_properties if name == "feature"]
        if report.failed and not ids:
            self._elsewhere.append(report.nodeid)  # its process has ended, and took along what it shows
        if report.outcome != "passed" or report.when == "call":
            for id in ids:
                self._note(id, report.nodeid, report.outcome)

    def _note(self, id: str, nodeid: str, outcome: str) -> None:
        test, cases = nodeid.partition("[")[0], self._outcomes[id]
        before = [cases[test]] if test in cases and cases[test] != "not run" else []
        cases[test] = worst([*before, outcome])

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Prints the rows."""
        terminalreporter.section("features")
        for line in self._lines():
            terminalreporter.line(line)

    def _lines(self) -> Iterator[str]:
        section, counts = "", Counter[str]()
        for row in self._rows.values():
            if row.section != section:
                section = row.section
                yield section
            tests = self._outcomes.get(row.id, {})
            outcome = row.state if row.state and not tests else worst(tests.values())
            if outcome == "passed" and row.part:
                outcome = "partly"
            counts[outcome] += 1
            yield f"  {row.id:5} {outcome:8} {row.says}{f'; missing: {row.part}' if row.part else ''}"
            for test, result in tests.items():
                yield f"          {result:8} {test}"
        for nodeid in self._elsewhere:
            yield f"failed, and shows no row: {nodeid}"
        yield f"{len(self._rows)} rows: " + ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())


def pytest_configure(config: pytest.Config) -> None:
    """Reads the list of the project."""
    config.pluginmanager.register(FeatureRows(read_rows(config.rootpath / "tests" / "features.toml")))
