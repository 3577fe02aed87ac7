"""The ledger of a chaos run: one line for each beginning and each end of an execution of a step, with fsync.

It is outside of everything under test. Times are of CLOCK_BOOTTIME, which no step of the wall clock changes.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from tests.support.ledger import note

ENVIRONMENT = "HOLDFAST_CHAOS_LEDGER"
TOKEN_LENGTH = 12
"""Letters of the token of an execution."""


@dataclass(frozen=True, slots=True)
class Line:
    """One moment of an execution. token: of this execution alone. at: seconds of CLOCK_BOOTTIME."""

    what: Literal["begins", "ends", "raises"]
    run_id: str
    step: str
    attempt: int
    key: str
    token: str
    pid: int
    at: float


def boottime() -> float:
    """Seconds since the machine was started, also those for which it slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def write(line: Line) -> None:
    """Adds a line to the ledger of this process' environment; it is on disk when this returns."""
    note(os.environ[ENVIRONMENT], json.dumps(asdict(line)))


def read(path: Path) -> list[Line]:
    """All lines, in the order in which they were written."""
    return [Line(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def recoveries(lines: Sequence[Line], pid: int, killed_at: float) -> list[float]:
    """After how many seconds each step that a killed process was executing was executed again."""
    open_steps: dict[tuple[str, str], str] = {}
    for line in lines:
        if line.pid == pid and line.at <= killed_at:
            if line.what == "begins":
                open_steps[line.run_id, line.step] = line.token
            else:
                open_steps.pop((line.run_id, line.step), None)
    found: dict[tuple[str, str], float] = {}
    for line in lines:
        key = (line.run_id, line.step)
        if line.what == "begins" and line.at > killed_at and key in open_steps and key not in found:
            found[key] = line.at - killed_at
    return sorted(found.values())


def executions(lines: Sequence[Line]) -> Counter[tuple[str, str]]:
    """How often each step of each run was begun."""
    return Counter((line.run_id, line.step) for line in lines if line.what == "begins")
