"""Journals of one Python replay on every other: those of every combinator, on each Python that this machine has."""

import functools
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import workflows_to_replay as flows
from tests.support.journals_of_a_python import recorded_journals, replay_all, texts_of

# The first run makes an environment for each Python.
pytestmark = pytest.mark.timeout(600)

_ROOT = Path(__file__).parents[3]
_OLDEST = (3, 11)
_PACKAGES = ["greenlet", "pydantic", "typing-extensions", "opentelemetry-api"]
"""What workflow code and its tests import besides the SDK."""


def _minor_of(python: str) -> tuple[int, int] | None:
    code = "import sys; print(sys.implementation.name, *sys.version_info[:2])"
    try:
        ran = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    except OSError:
        return None
    found = re.fullmatch(r"cpython (\d+) (\d+)\s*", ran.stdout)
    return (int(found[1]), int(found[2])) if found else None


@functools.cache
def other_pythons() -> dict[str, str]:
    """Every CPython from 3.11 on besides this one, by minor version: those of pyenv, then those in PATH."""
    roots = [Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()]
    candidates = [str(python) for root in roots for python in sorted(root.glob("versions/*/bin/python3"))]
    candidates += [path for minor in range(_OLDEST[1], 30) if (path := shutil.which(f"python3.{minor}"))]
    found: dict[str, str] = {}
    for python in candidates:
        version = _minor_of(python)
        if version is not None and version >= _OLDEST and version != sys.version_info[:2]:
            found.setdefault(f"{version[0]}.{version[1]}", python)
    return found


def environment_of(version: str) -> str:
    """The interpreter of an environment with the packages, made once and kept beside this one."""
    place = Path(sys.prefix) / "pythons" / version
    python, mark = place / "bin" / "python", place / f".with-{'-'.join(_PACKAGES)}"
    if not mark.exists():
        shutil.rmtree(place, ignore_errors=True)
        for command in (
            [other_pythons()[version], "-m", "venv", str(place)],
            [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *_PACKAGES],
        ):
            ran = subprocess.run(command, capture_output=True, text=True, check=False)
            if ran.returncode:
                pytest.skip(f"Python {version} is here, but its packages cannot be installed: {ran.stderr[-300:]}")
        mark.touch()
    return str(python)


def ask(version: str, what: str, path: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), str(_ROOT / "sdk")]), "PYTHONHASHSEED": "7"}
    program = ["-W", "error::RuntimeWarning", "-m", "tests.support.journals_of_a_python"]
    command = [environment_of(version), *program, what, str(path)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("journals") / "ours"
    path.write_bytes(pickle.dumps(recorded_journals()))
    return path


@pytest.mark.feature("F160")
@pytest.mark.parametrize(
    "version", list(other_pythons()) or [pytest.param("none", marks=pytest.mark.skip("no other Python from 3.11 on"))]
)
def test_journals_of_this_python_replay_on_every_other_and_back(version: str, ours: Path, tmp_path: Path) -> None:
    assert ask(version, "replay", ours) == f"replayed {len(flows.ALL)} workflows\n"
    theirs = tmp_path / "theirs"
    ask(version, "record", theirs)
    assert replay_all(pickle.loads(theirs.read_bytes())) == len(flows.ALL)


@pytest.mark.feature("F160")
def test_every_python_records_the_same_journals(ours: Path, tmp_path: Path) -> None:
    if not other_pythons():
        pytest.skip("no other Python from 3.11 on")
    expected = texts_of(pickle.loads(ours.read_bytes()))
    for version in other_pythons():
        path = tmp_path / version
        ask(version, "record", path)
        found = texts_of(pickle.loads(path.read_bytes()))
        for name, journal in expected.items():
            assert found[name] == journal, (version, name)
