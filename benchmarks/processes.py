"""Modules of this package as processes of their own: they find it from any working directory, and for any revision."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def command_of(module: str, arguments: Sequence[str] = ()) -> tuple[str, ...]:
    """The command that runs benchmarks.<module>."""
    # -P: a folder `benchmarks` in the working directory is another one.
    return (sys.executable, "-P", "-m", f"{__package__}.{module}", *arguments)


def environment(checkout: Path | None = None) -> dict[str, str]:
    """The environment of such a process. checkout: another revision of the project, whose holdfast runs instead.

    The benchmarks are always these: a revision may keep them elsewhere, or measure something else.
    """
    holdfast = [] if checkout is None else [checkout / "sdk", checkout / "coordinator"]
    paths = [*map(str, holdfast), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
