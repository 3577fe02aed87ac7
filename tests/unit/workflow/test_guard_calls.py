"""What guards cost outside of workflow code, counted in calls: a look at the running loop, and nothing else."""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from holdfast.worker import guards


def calls_of(function: Callable[[], Any], *, depth: int) -> Counter[str]:
    """The functions that are called within a call from so deep in a stack, by name."""
    if depth:
        return calls_of(function, depth=depth - 1)
    found: Counter[str] = Counter()

    def count(frame: FrameType, event: str, called: Any) -> None:
        if event == "call":
            found[frame.f_code.co_name] += 1
        elif event == "c_call":
            found[called.__name__] += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(before)
    found.subtract(["setprofile"])
    return +found


@pytest.mark.feature("F151")
@pytest.mark.parametrize("name", ["time.time", "time.monotonic", "random.random", "socket.gethostname"])
@pytest.mark.parametrize("within_loop", [False, True], ids=["plain code", "a step's loop"])
def test_a_guarded_call_outside_of_a_run_looks_at_the_running_loop_and_does_nothing_else(
    name: str, within_loop: bool
) -> None:
    guards.install()
    module, _, attribute = name.partition(".")
    guarded = getattr(sys.modules[module], attribute)

    async def within() -> Counter[str]:
        return calls_of(guarded, depth=100)

    found = asyncio.run(within()) if within_loop else calls_of(guarded, depth=100)
    guard = guarded.__code__.co_name
    assert found == Counter({guard: 1, "_get_running_loop": 1, attribute: 1})
