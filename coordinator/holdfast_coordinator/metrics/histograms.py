"""Histograms for what happens with every step: an observation costs a fraction of one of prometheus_client's, 2 us.

Observed on the event loop only, so there is no lock. A scrape in another thread may fall between two additions; the
count is therefore taken from the buckets.
"""

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import cast

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from .table import Instrument


class HistogramChild:
    """The observations of one label set."""

    __slots__ = ("_bounds", "counts", "exemplars", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.exemplars: dict[int, Exemplar] = {}
        self.total = 0.0

    def observe(self, value: float, trace_id: str = "") -> None:
        """Counts a value; it goes into the first bucket whose bound is not below it. trace_id: becomes an exemplar."""
        bucket = bisect_left(self._bounds, value)
        self.counts[bucket] += 1
        self.total += value
        if trace_id:
            self.exemplars[bucket] = Exemplar({"trace_id": trace_id}, value, time.time())


class HistogramFamily(Collector):
    """A histogram of the table with its children, in the order in which they were made."""

    def __init__(self, of: Instrument) -> None:
        self._of = of
        self._names = [*map(floatToGoString, of.buckets), "+Inf"]
        self._children: dict[tuple[str, ...], HistogramChild] = {}

    def child(self, values: tuple[str, ...]) -> HistogramChild:
        """Makes the child of a label set."""
        child = self._children[values] = HistogramChild(self._of.buckets)
        return child

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """See prometheus_client."""
        family = HistogramMetricFamily(self._of.name, self._of.help, labels=self._of.labels)
        for values, child in list(self._children.items()):
            counts = accumulate(list(child.counts))
            buckets = [
                (name, float(count), child.exemplars.get(place))
                for place, (name, count) in enumerate(zip(self._names, counts, strict=True))
            ]
            # By the stubs buckets are pairs, without exemplars.
            family.add_metric(values, cast(list[tuple[str, float]], buckets), sum_value=child.total)
        yield family
