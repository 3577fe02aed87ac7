"""CPU of processes is read from /proc, ended children included."""

import os
import subprocess
import sys
import time

import pytest

from benchmarks.cpu import cpu_seconds

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

BURN = "import time\nwhile time.process_time() < 0.2: pass"


def test_cpu_of_this_process_grows_with_work() -> None:
    before = cpu_seconds(os.getpid())
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    after = cpu_seconds(os.getpid())
    assert before is not None
    assert after is not None
    assert 0.05 < after - before < 1.0


def test_cpu_of_ended_children_counts_when_asked_for() -> None:
    before, alone_before = cpu_seconds(os.getpid(), with_children=True), cpu_seconds(os.getpid())
    subprocess.run([sys.executable, "-c", BURN], check=True)
    after, alone_after = cpu_seconds(os.getpid(), with_children=True), cpu_seconds(os.getpid())
    assert before is not None
    assert after is not None
    assert alone_before is not None
    assert alone_after is not None
    assert after - before > 0.15
    assert alone_after - alone_before < 0.15


def test_a_process_that_is_gone_has_no_cpu() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert cpu_seconds(gone.pid) is None
