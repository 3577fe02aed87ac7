"""What is measured for the capacity page is measured of real processes, and an idle fleet does what is simulated."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.capacity.fleet import Fleet
from benchmarks.capacity.simulation import simulate
from benchmarks.processes import ROOT

MODULE = "benchmarks.capacity.measure"


def measure(*options: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    command = [sys.executable, "-m", MODULE, *options]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=250, cwd=cwd, env=environment)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_an_idle_fleet_of_two_coordinators_asks_its_database_as_often_as_a_simulated_one(tmp_path: Path) -> None:
    done = measure(
        "--shape", "2x2", "--runs", "20", "--rounds", "1", "--idle", "6", "--wait", "0", "--json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert (found["coordinators"], found["cells"]) == (2, 2)
    assert found["journal_rows_per_run"] >= 11
    assert found["wal_bytes_per_step"] > 300
    assert found["worker_ms"] > 0
    simulated = simulate(Fleet(2, 4, cells=2), seconds=30).all_transactions
    assert simulated / 1.6 < found["idle_transactions"] < simulated * 1.6


def test_a_shape_that_is_none_is_refused(tmp_path: Path) -> None:
    done = measure("--shape", "two", cwd=tmp_path)
    assert done.returncode == 2
    assert "such as 2x4" in done.stderr
