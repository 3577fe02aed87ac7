"""Profiles of a case are shown under its name."""

import cProfile
import io
from pathlib import Path

from rich.console import Console

from benchmarks.profiles import Profiles


def test_the_profiles_of_a_case_whose_name_begins_with_that_of_another_are_shown_under_their_own(
    tmp_path: Path,
) -> None:
    profiler = cProfile.Profile()
    profiler.runcall(sorted, [2, 1])
    for case in ("B6", "B6.lone"):
        profiler.dump_stats(tmp_path / f"{case}.client.pstats")
    console = Console(file=io.StringIO(), force_terminal=False, width=200)
    Profiles(tmp_path).show(console, "B6")
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()
    assert "B6: client" in said
    assert "lone" not in said
