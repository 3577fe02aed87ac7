"""What is of a run's own: a directory that nobody else uses, and an environment that names nothing of anybody."""

import argparse
import os
import tempfile
from pathlib import Path

FOREIGN = ("HOLDFAST_", "OTEL_", "PG")
"""How variables begin that could lead to a database, a coordinator or a collector that is there already."""


def own_directory(parser: argparse.ArgumentParser, given: Path | None, *, prefix: str) -> Path:
    """The directory that was given, or a new one. Ends the program when it holds anything."""
    if given is not None and given.exists() and any(given.iterdir()):
        parser.error(f"{given} holds files that are not of this run; give a directory that does not exist yet")
    directory = given or Path(tempfile.mkdtemp(prefix=prefix))
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)  # where root runs this, Postgres is another user, who has to get through
    return directory


def forget_others() -> None:
    """Whatever else of holdfast is on this machine is none of its business."""
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        del os.environ[name]
