"""Clients that wait for runs to close: woken in memory by the replica that commits, without a query.

The store is asked only about runs that this replica has not seen: those it started or asked about before are
known to be open until they close here, or until a look at all that closed finds that another replica closed them.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from holdfast_coordinator.domain.rows import RunResult

RECENT_BYTES_MAX = 32 * 1024 * 1024
KNOWN_OPEN_MAX = 200_000


class Waiter:
    """One long poll over a set of runs."""

    __slots__ = ("closed", "namespace", "news")

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.closed: dict[str, RunResult] = {}
        self.news = asyncio.Event()

    def notify(self, result: RunResult) -> None:
        """A run of the set has closed; this may come twice."""
        self.closed[result.run_id] = result
        self.news.set()


class Waiters:
    """See the module. `recent` results are kept in memory, bounded in bytes, oldest out first.

    A waiter is woken by runs of its own namespace only: also how long a wait takes would reveal others.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, list[Waiter]] = {}
        self._known_open: OrderedDict[str, str] = OrderedDict()
        self._recent: OrderedDict[str, RunResult] = OrderedDict()
        self._recent_bytes = 0

    def is_open(self, namespace: str, run_id: str) -> None:
        """A run is open now; its end is known to this replica, or found by the next look at what closed."""
        if run_id in self._recent:
            return  # it has closed while its start was on the way to whoever says so
        self._known_open[run_id] = namespace
        if len(self._known_open) > KNOWN_OPEN_MAX:
            self._known_open.popitem(last=False)

    def has_closed(self, result: RunResult) -> None:
        """A run has closed: wakes who waits for it."""
        self._known_open.pop(result.run_id, None)
        if result.run_id not in self._recent:
            self._recent[result.run_id] = result
            self._recent_bytes += _size(result)
            while self._recent_bytes > RECENT_BYTES_MAX:
                _, oldest = self._recent.popitem(last=False)
                self._recent_bytes -= _size(oldest)
        for waiter in self._waiting.pop(result.run_id, ()):
            if waiter.namespace == result.namespace:
                waiter.notify(result)

    def register(self, namespace: str, run_ids: Iterable[str]) -> Waiter:
        """Begins to wait for runs; those that closed just now are in the waiter already."""
        waiter = Waiter(namespace)
        for run_id in run_ids:
            recent = self._recent_of(namespace, run_id)
            if recent is None:
                self._waiting.setdefault(run_id, []).append(waiter)
            else:
                waiter.notify(recent)
        return waiter

    def unregister(self, waiter: Waiter, run_ids: Iterable[str]) -> None:
        """Ends a wait."""
        for run_id in run_ids:
            waiting = self._waiting.get(run_id)
            if waiting is not None and waiter in waiting:
                waiting.remove(waiter)
                if not waiting:
                    del self._waiting[run_id]

    def wake_all(self) -> None:
        """Ends all waits, with what they have."""
        for waiting in self._waiting.values():
            for waiter in waiting:
                waiter.news.set()

    def unknown(self, namespace: str, run_ids: Sequence[str]) -> list[str]:
        """Which of these the store must be asked about, because they are not known to be in the namespace."""
        known = self._known_open
        return [
            run_id
            for run_id in run_ids
            if known.get(run_id) != namespace and self._recent_of(namespace, run_id) is None
        ]

    def _recent_of(self, namespace: str, run_id: str) -> RunResult | None:
        recent = self._recent.get(run_id)
        return recent if recent is not None and recent.namespace == namespace else None

    def waited_for(self) -> list[str]:
        """Runs that are waited for."""
        return list(self._waiting)

    @property
    def watches(self) -> bool:
        """True when the end of some run has to be found, whoever commits it."""
        return bool(self._waiting or self._known_open)

    def closed_elsewhere(self, run_ids: Iterable[str]) -> list[str]:
        """These runs have closed: answers those that are waited for; the others are not known to be open now."""
        waited_for = []
        for run_id in run_ids:
            if run_id in self._waiting:
                waited_for.append(run_id)
            else:
                self._known_open.pop(run_id, None)
        return waited_for

    def know_nothing(self) -> None:
        """Closes may have been missed: whoever waits from now on asks the store."""
        self._known_open.clear()


def _size(result: RunResult) -> int:
    failure = result.failure if isinstance(result.failure, bytes) else b""
    return 200 + len(result.result or b"") + len(failure)
