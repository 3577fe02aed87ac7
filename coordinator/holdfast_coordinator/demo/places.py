"""Where Python distributions lie on this machine. Only looks at directories; reads no file."""

import glob
import os
import site
import sys
from collections.abc import Iterable
from pathlib import Path

# What the usual installers make: the system's Python, Homebrew, pyenv, conda, uv, and `pip install --user`.
PATTERNS = (
    "/usr/lib/python3*/*-packages",
    "/usr/local/lib/python3*/*-packages",
    "/opt/*/lib/python3*/site-packages",
    "/opt/homebrew/lib/python3*/site-packages",
    "~/.pyenv/versions/*/lib/python3*/site-packages",
    "~/.local/share/uv/tools/*/lib/python3*/site-packages",
    "~/.local/share/uv/python/*/lib/python3*/site-packages",
    "~/.local/lib/python3*/site-packages",
    "~/*conda3/lib/python3*/site-packages",
)
METADATA_SUFFIXES = (".dist-info", ".egg-info")


def site_directories() -> list[Path]:
    """The directories that hold distributions, each once, in a fixed order: those of this Python first."""
    found = [*sys.path, *site.getsitepackages(), site.getusersitepackages()]
    for pattern in PATTERNS:
        found += sorted(glob.glob(os.path.expanduser(pattern)))
    return _distinct(Path(path) for path in found if path)


def metadata_paths(directory: Path) -> list[Path]:
    """The `*.dist-info` and `*.egg-info` of a directory, by name; none when it cannot be read."""
    try:
        return sorted(path for path in directory.iterdir() if path.suffix in METADATA_SUFFIXES)
    except OSError:
        return []


def _distinct(directories: Iterable[Path]) -> list[Path]:
    """Those with distributions, without the second of two names of one directory."""
    return list(dict.fromkeys(path.resolve() for path in directories if metadata_paths(path)))
