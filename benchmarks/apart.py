"""Cases that need stacks of their own: more than one, another kind, or one that is left in a state of which no other
case should have anything.

They run after the cases that share a stack, each with rounds of its own.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from . import telemetry
from .sizes import Sizes

Say = Callable[[str], None]
"""Told what is done next."""


@dataclass(slots=True, frozen=True)
class Apart:
    """figures: the names of what `measure` returns, with a value of each round. is_long: not a case for --quick."""

    name: str
    figures: tuple[str, ...]
    measure: Callable[[Sizes, Say], Awaitable[Mapping[str, Sequence[float]]]]
    is_long: bool = False


APART = (Apart("B11", telemetry.FIGURES, telemetry.measure_telemetry),)
