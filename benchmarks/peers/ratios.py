"""Figures of holdfast over those of its peers, and what is due of them. Pure.

A ratio is of two figures of one round: whatever slows the machine in the meantime slows both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..figures import Due, Figure

OURS = "holdfast"


@dataclass(slots=True, frozen=True)
class Compared:
    """A figure that is compared. more_is_better: a rate; else a time, CPU or memory."""

    what: str
    unit: str
    more_is_better: bool = False


COMPARED: Mapping[str, Compared] = {
    "B1": Compared("one-step runs", "runs/s", more_is_better=True),
    "B1.cpu_ms_per_run": Compared("the same: CPU of all processes", "ms/run"),
    "B2": Compared("10-step runs", "steps/s", more_is_better=True),
    "B2.cpu_ms_per_step": Compared("the same: CPU of all processes", "ms/step"),
    "memory": Compared("what all processes hold after B2", "MiB"),
    "B4.run_p50": Compared("idle: one-step run, median", "ms"),
    "B4.run_p99": Compared("idle: one-step run, 99th percentile", "ms"),
    "B4.step_p50": Compared("idle: sequential step, median", "ms"),
    "B5": Compared("fan-out of 1,000 steps and join", "s"),
}
"""In the order in which they are shown."""

_DUES: Mapping[tuple[str, str], tuple[float, float]] = {
    ("restate", "B1"): (1.8, 4.0),
    ("restate", "B2"): (1.4, 3.0),
    ("restate", "B2.cpu_ms_per_step"): (0.6, 0.3),
    ("restate", "B4.run_p50"): (1.0, 0.6),
    ("restate", "B4.step_p50"): (0.9, 0.5),
    ("restate", "B5"): (0.1, 0.04),
    ("dbos", "B2"): (8.0, 30.0),
}


@dataclass(slots=True, frozen=True)
class Comparison:
    """One figure of holdfast and of a peer, and the first over the second."""

    name: str
    peer: str
    ours: Figure
    theirs: Figure
    ratio: Figure

    @property
    def due(self) -> Due | None:
        """What the ratio must reach."""
        compared, values = COMPARED[self.name], _DUES.get((self.peer, self.name))
        if values is None:
            return None
        return Due(compared.what, "x", *values, more_is_better=compared.more_is_better)

    @property
    def is_ours_better(self) -> bool:
        """Whether holdfast does better than the peer, by the median of the ratios."""
        return (self.ratio.median > 1.0) == COMPARED[self.name].more_is_better


def compare(peers: Sequence[str], rounds: Mapping[str, Sequence[Mapping[str, float]]]) -> list[Comparison]:
    """A comparison for each figure and peer that both engines have.

    rounds: by engine, the figures of each round. A round in which one of the two has no such figure does not count.
    """
    found = []
    for peer in peers:
        for name, compared in COMPARED.items():
            pairs = [
                (ours[name], theirs[name])
                for ours, theirs in zip(rounds[OURS], rounds[peer], strict=True)
                if name in ours and theirs.get(name)
            ]
            if pairs:
                ours, theirs = (Figure.of(values, compared.unit) for values in zip(*pairs, strict=True))
                ratio = Figure.of([our / their for our, their in pairs], "x")
                found.append(Comparison(name, peer, ours, theirs, ratio))
    return found


def best_way(name: str, reached: Mapping[str, float]) -> str:
    """The way in which a figure came out best. reached: what it was, by way."""
    return (max if COMPARED[name].more_is_better else min)(reached, key=lambda way: reached[way])
