"""Which files are checked: those that are named, and the Python files below the directories that are named."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from holdfast.errors import HoldfastError

_LEFT_OUT = frozenset({"__pycache__", "node_modules", "site-packages", "build", "dist", "venv"})
"""Directories that hold no code of the project; nor do those whose names begin with a dot."""


class PathNotFound(HoldfastError):
    """A path that was to be checked is not there."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: there is no such file or directory")
        self.path = path


def python_files(paths: Iterable[Path]) -> list[Path]:
    """The files to check, each once, sorted below each directory. Raises PathNotFound."""
    found = dict[Path, None]()
    for path in paths:
        if path.is_dir():
            found |= dict.fromkeys(_below(path))
        elif path.exists():
            found[path] = None
        else:
            raise PathNotFound(path)
    return list(found)


def _below(directory: Path) -> Iterator[Path]:
    for place, directories, names in os.walk(directory):
        directories[:] = sorted(name for name in directories if not _is_left_out(Path(place, name)))
        for name in sorted(names):
            if name.endswith((".py", ".pyi")):
                yield Path(place, name)


def _is_left_out(directory: Path) -> bool:
    name = directory.name
    return name.startswith(".") or name in _LEFT_OUT or (directory / "pyvenv.cfg").exists()
