"""Memory of processes is read from /proc."""

import os
import subprocess
import sys

import pytest

from benchmarks.memory import resident_mb

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

MEGABYTES = 100


def test_memory_of_this_process_grows_with_what_it_keeps() -> None:
    before = resident_mb(os.getpid())
    kept = b"x" * (MEGABYTES * 1_000_000)
    after = resident_mb(os.getpid())
    assert before is not None
    assert after is not None
    assert 0.8 * MEGABYTES < after - before < 1.5 * MEGABYTES
    assert len(kept) == MEGABYTES * 1_000_000


def test_a_process_that_is_gone_has_no_memory() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert resident_mb(gone.pid) is None
