"""CPU and memory of processes are read from /proc, those below them included, and of CPU also the ended ones."""

import os
import subprocess
import sys
import time

import pytest

from benchmarks.cpu import cpu_seconds, processes_below
from benchmarks.peers.memory import memory_mib

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


def test_cpu_of_a_process_counts_when_asked_for_also_below_its_child() -> None:
    before = cpu_seconds(os.getpid(), with_children=True)
    # The one that burns is below a shell that waits for it and for its stdin.
    shell = ["/bin/sh", "-c", '"$0" -c "$1"; echo burnt; read line', sys.executable, BURN]
    with subprocess.Popen(shell, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"burnt\n"
        after = cpu_seconds(os.getpid(), with_children=True)
        process.communicate()
    assert before is not None
    assert after is not None
    assert after - before > 0.15


def test_memory_counts_what_is_below_a_process_and_each_process_once() -> None:
    hold = "import sys; held = b'x' * 2**26; sys.stdout.write('held'); sys.stdout.flush(); sys.stdin.read()"
    with subprocess.Popen(
        ["/bin/sh", "-c", '"$0" -c "$1"; true', sys.executable, hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(4) == b"held"
        (child,) = processes_below(process.pid)
        once, twice = memory_mib([process.pid]), memory_mib([process.pid, child])
        process.communicate()
    assert once is not None
    assert twice is not None
    assert 64 < once < 200
    assert abs(once - twice) < 8
    assert memory_mib([child]) is None
