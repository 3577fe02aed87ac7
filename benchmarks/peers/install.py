"""Installs what a peer consists of, once, below .cache/peers: in a virtual environment and a node_modules of its own.

Nothing of it becomes a dependency of holdfast, and no peer disturbs the versions of another one or ours.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import HoldfastError

from ..processes import ROOT

CACHE = ROOT / ".cache" / "peers"
INSTALL_SECONDS = 600


class CannotInstall(HoldfastError):
    """A peer cannot be installed on this machine; the text says why."""


@dataclass(slots=True, frozen=True)
class Parts:
    """What a peer consists of, each with its version. python: distributions of PyPI; npm: packages of npm."""

    python: tuple[str, ...]
    npm: tuple[str, ...] = ()


@dataclass(slots=True, frozen=True)
class Installed:
    """Where a peer is. folder: `venv` and, where there are npm packages, `node_modules` are in it."""

    folder: Path

    @property
    def python(self) -> str:
        """The interpreter of its virtual environment."""
        return str(self.folder / "venv" / "bin" / "python")


def install(name: str, parts: Parts, *, cache: Path = CACHE) -> Installed:
    """Installs a peer unless it is there already. Raises CannotInstall."""
    folder = cache / name
    stamp = folder / "installed"
    digest = hashlib.sha256(repr((parts, sys.version)).encode()).hexdigest()
    if not (stamp.is_file() and stamp.read_text() == digest):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _install_python(folder, parts.python)
        if parts.npm:
            _install_npm(folder, parts.npm)
        stamp.write_text(digest)
    return Installed(folder)


def _install_python(folder: Path, distributions: Sequence[str]) -> None:
    # Our pip installs into it: not every Python brings one for new environments.
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    pip = (sys.executable, "-m", "pip", "--python", Installed(folder).python, "--disable-pip-version-check")
    _run((*pip, "install", "--quiet", "--no-input", "--retries", "1", "--timeout", "30", *distributions))


def _install_npm(folder: Path, packages: Sequence[str]) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise CannotInstall("npm is not installed; it comes with Node.js, https://nodejs.org")
    quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--no-update-notifier", "--loglevel=error")
    patience = ("--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=30000")
    _run((npm, "install", "--prefix", str(folder), *quiet, *patience, *packages))


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=INSTALL_SECONDS, env=os.environ | {"NO_COLOR": "1"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise CannotInstall(f"{_name(command)} takes more than {INSTALL_SECONDS} s") from None
    if done.returncode:
        raise CannotInstall(f"{_name(command)} says: {reason(done.stdout)}")


def reason(output: str) -> str:
    """The line of pip's or npm's output that says what went wrong: the last that is marked as an error."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    # npm ends with where its log is.
    marked = [line for line in lines if "error" in line.lower() and "log of this run" not in line]
    return (marked or lines or ["nothing"])[-1]


def _name(command: Sequence[str]) -> str:
    return "pip" if "pip" in command else Path(command[0]).name
