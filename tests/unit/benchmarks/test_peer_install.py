"""What a peer consists of is installed apart from holdfast, once; where it cannot be, one line says why."""

import subprocess
import zipfile
from pathlib import Path

import pytest

from benchmarks.peers import install as installing
from benchmarks.peers.install import CannotInstall, Parts, install, reason

NO_INDEX = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": "/dev/null"}


@pytest.fixture(autouse=True)
def _no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """pip reaches nothing but what lies on this machine."""
    for name, value in NO_INDEX.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def distribution(tmp_path: Path) -> Path:
    """A distribution that lies on this machine, as a wheel without anything to build."""
    wheel = tmp_path / "peer_of_a_test-1.0-py3-none-any.whl"
    info = "peer_of_a_test-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("peer_of_a_test.py", "ANSWER = 42\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: peer-of-a-test\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


def test_a_peer_is_installed_into_an_environment_of_its_own_once(distribution: Path, tmp_path: Path) -> None:
    parts = Parts(python=(str(distribution),))
    found = install("peer", parts, cache=tmp_path / "cache")
    asking = [found.python, "-c", "import peer_of_a_test, sys; print(peer_of_a_test.ANSWER, sys.prefix)"]
    said = subprocess.run(asking, check=True, capture_output=True, text=True, cwd=tmp_path).stdout.split()
    assert said == ["42", str(tmp_path / "cache" / "peer" / "venv")]
    with pytest.raises(ImportError):
        __import__("peer_of_a_test")
    distribution.unlink()
    assert install("peer", parts, cache=tmp_path / "cache") == found


def test_a_peer_that_no_index_has_is_refused_with_the_reason_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        CannotInstall, match=r"^pip says: .*[Nn]o matching distribution.*peer-that-is-nowhere"
    ) as raised:
        install("peer", Parts(python=("peer-that-is-nowhere==1.0",)), cache=tmp_path)
    assert "\n" not in str(raised.value)


def test_a_peer_of_another_version_is_installed_anew(distribution: Path, tmp_path: Path) -> None:
    install("peer", Parts(python=(str(distribution),)), cache=tmp_path / "cache")
    with pytest.raises(CannotInstall):
        install("peer", Parts(python=("peer-of-a-test==2.0",)), cache=tmp_path / "cache")


def test_a_machine_without_npm_says_where_to_get_it(
    distribution: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installing.shutil, "which", lambda name: None)
    with pytest.raises(CannotInstall, match="npm is not installed"):
        install("peer", Parts(python=(str(distribution),), npm=("server@1.0",)), cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (
            "npm error code ENOTFOUND\nnpm error A complete log of this run can be found in: x",
            "npm error code ENOTFOUND",
        ),
        ("Looking up\nERROR: Could not find it\nnotice: a new pip", "ERROR: Could not find it"),
        ("killed\n", "killed"),
        ("", "nothing"),
    ],
)
def test_the_reason_is_the_last_line_that_is_marked_as_an_error(output: str, expected: str) -> None:
    assert reason(output) == expected
