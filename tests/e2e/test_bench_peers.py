"""`make bench-peers` runs each peer beside holdfast from end to end, in a size that measures nothing."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.peers.__main__ import PEERS
from benchmarks.peers.cases import CASES
from benchmarks.peers.install import CannotInstall, install
from benchmarks.peers.peer import Peer
from benchmarks.processes import ROOT, command_of


def run(command: Sequence[str], *, timeout: float, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """The checkout is not installed as a package: a program of it finds it by the path, wherever it is started."""
    environment = {"PYTHONPATH": str(ROOT), "PATH": str(Path(sys.executable).parent)}
    return subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=timeout, cwd=cwd, env=environment
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
def test_a_peer_does_all_its_work_beside_holdfast(peer: Peer, tmp_path: Path) -> None:
    try:
        install(peer.name, peer.parts)
    except CannotInstall as error:
        pytest.skip(f"{peer.title} cannot be installed: {error}")
    command = (*command_of("peers"), "--smoke", "--json", "--peer", peer.name)
    done = run(command, timeout=800, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["left_out"] == {}
    figures = found["peers"][peer.name]["figures"]
    cases = [case for case in CASES if peer.cases is None or case.name in peer.cases]
    assert set(figures) == {name for case in cases for name in case.figures}
    for name, figure in figures.items():
        assert figure["holdfast"]["median"] > 0 or "cpu" in name, name
        assert figure[peer.name]["median"] > 0 or "cpu" in name, name


def test_an_unknown_peer_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    command = (*command_of("peers"), "--peer", "nobody")
    done = run(command, timeout=60, cwd=tmp_path)
    assert done.returncode == 2
    assert all(name in done.stderr for name in PEERS)
