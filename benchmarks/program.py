"""A process of the stack: the `holdfast` program, ended with its parent, and profiled between two signals.

    python -m benchmarks.program <profile, or -> <arguments of holdfast>...

SIGUSR1 begins a profile of the main thread, SIGUSR2 ends it and writes it to the file. HOLDFAST_BENCH_CELLS says how
many cells a coordinator has: its code keeps as many as one likes, but no option of the program says so yet.
"""

import cProfile
import os
import signal
import sys
import threading
import time
from types import FrameType

from .processes import CELLS_VARIABLE

KILL_SECONDS = 10.0


def main() -> None:
    """Runs until the program ends, or stdin is closed."""
    profile, sys.argv = sys.argv[1], ["holdfast", *sys.argv[2:]]
    if profile != "-":
        _profile_on_signals(profile)
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    if sys.argv[1] == "serve":
        _have_cells(int(os.environ.get(CELLS_VARIABLE, "1")))
    from holdfast.cli import main as holdfast

    holdfast()


def _have_cells(count: int) -> None:
    from holdfast_coordinator import app

    if count > 1:
        app.CELLS = tuple(f"{number:02}" for number in range(count))


def _profile_on_signals(path: str) -> None:
    profiler = cProfile.Profile()

    def begin(number: int, frame: FrameType | None) -> None:
        profiler.enable()

    def end(number: int, frame: FrameType | None) -> None:
        profiler.disable()
        profiler.dump_stats(f"{path}.part")
        profiler.clear()
        os.replace(f"{path}.part", path)  # whoever waits for the file sees all of it

    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGUSR2, end)


def _end_with_stdin() -> None:
    # Not sys.stdin: its lock, held by this thread, would abort the interpreter when it ends.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(KILL_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
