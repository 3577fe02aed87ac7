"""Cases that need stacks of their own: more than one, another kind, or one that is left in a state of which no other
case should have anything.

They run after the cases that share a stack, each with rounds of its own.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from . import deep_queue, horizon, restarts, suspended, telemetry, two_replicas
from .sizes import Say, Sizes


@dataclass(slots=True, frozen=True)
class Apart:
    """figures: the names of what `measure` returns, with a value of each round. is_long: not a case for --quick."""

    name: str
    figures: tuple[str, ...]
    measure: Callable[[Sizes, Say], Awaitable[Mapping[str, Sequence[float]]]]
    is_long: bool = False


APART = (
    Apart("B7", deep_queue.FIGURES, deep_queue.measure_deep_queue, is_long=True),
    Apart("B8", horizon.FIGURES, horizon.measure_held_horizon, is_long=True),
    Apart("B9", suspended.FIGURES, suspended.measure_suspended, is_long=True),
    Apart("B11", telemetry.FIGURES, telemetry.measure_telemetry),
    Apart("B14", restarts.FIGURES, restarts.measure_restarts, is_long=True),
    Apart("B15", two_replicas.FIGURES, two_replicas.measure_two_replicas, is_long=True),
)
