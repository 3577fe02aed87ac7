"""Where a test lets the worker crash: at a step, before or after its function runs."""

from typing import Literal

Moment = Literal["before", "after"]
"""Of a crash: before the function of the step is called, or when it has ended and nothing is recorded of that yet."""


class CrashPoints:
    """The places that no run has come to yet. A step is named, or counted from 1 in the order of a run's calls."""

    def __init__(self) -> None:
        self._left: list[tuple[str | int, Moment]] = []

    def add(self, step: str | int, moment: Moment) -> None:
        """One more crash."""
        self._left.append((step, moment))

    def are_met(self, name: str, number: int, *, moment: Moment) -> bool:
        """Whether to crash at this moment of this step. Each place counts once."""
        for place in self._left:
            if place in ((name, moment), (number, moment)):
                self._left.remove(place)
                return True
        return False

    @property
    def unmet(self) -> list[str]:
        """The places that are left, in words."""
        return [f"step {step} ({moment})" for step, moment in self._left]
