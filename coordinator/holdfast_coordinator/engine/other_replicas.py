"""Finds what other replicas did that concerns this one: work they left ready, runs they closed that are waited for.

Once a second, and at once for what the doorbell names. What this replica commits itself it has without this, unless
the answer of the commit was lost; so the look is taken also where there is no other replica.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from .cells import Cell, Cells
from .matcher import Matcher
from .waiters import Waiters

CLOSED_MAX = 20_000
"""How many closed runs one look reads; after more than that all waited ids are asked instead."""
COMMIT_TIME = timedelta(seconds=2)
"""How much later than its `closed_at` a close may become visible and still be found by the next look."""
ASK_AGAIN_LOOKS = 15
"""After how many looks all waited ids are asked, for commits that took longer than that."""
RESULTS_PAGE = 200


class Elsewhere:
    """See the module. clock: the database's time by this replica's estimate."""

    def __init__(self, cells: Cells, matcher: Matcher, waiters: Waiters, clock: Callable[[], datetime]) -> None:
        self._cells = cells
        self._matcher = matcher
        self._waiters = waiters
        self._clock = clock
        self._closed_until: dict[str, datetime] = {}
        self._looks = 0

    # Work that waits

    async def find_work(self) -> None:
        """Claims where work is believed to wait, and asks for the names of which nothing is known. Raises StoreError.

        Reading costs no lock, and one index probe for each name: only where a row is does a claim follow.
        """
        self._matcher.claim_where_believed()
        runs, steps = self._matcher.unknown_names()
        if not runs and not steps:
            return
        for cell in self._cells:
            with_runs, with_steps = await cell.store.loops.waiting_names(runs, steps)
            for namespace, queue, workflow in with_runs:
                self._matcher.left_ready((namespace, queue), workflow)
            for namespace, queue, step in with_steps:
                self._matcher.left_queued((namespace, queue), step)

    # Runs that closed

    async def find_closed(self) -> None:
        """Wakes who waits for runs that another replica closed. Raises StoreError."""
        self._looks += 1
        if self._looks % ASK_AGAIN_LOOKS == 0:
            await self._wake(self._waiters.waited_for())
        for cell in self._cells:
            await self._find_closed_in(cell)

    async def closed(self, run_ids: Iterable[str]) -> None:
        """Another replica says that it closed these runs. Raises StoreError."""
        await self._wake(self._waiters.closed_elsewhere(run_ids))

    async def _find_closed_in(self, cell: Cell) -> None:
        now = self._clock()
        # Not by the last look alone: whoever's clock ran ahead would hide what others close after it.
        since = min(self._closed_until.get(cell.name, now), now)
        if not self._waiters.watches:
            self._closed_until[cell.name] = now
            return
        closed = await cell.store.loops.closed_since(since - COMMIT_TIME, CLOSED_MAX)
        if len(closed) < CLOSED_MAX:
            wanted = self._waiters.closed_elsewhere(run_id for run_id, _ in closed)
        else:
            self._waiters.know_nothing()
            wanted = self._waiters.waited_for()
        await self._wake(wanted)
        self._closed_until[cell.name] = max(since, min(closed[-1][1], now)) if closed else since

    async def _wake(self, run_ids: list[str]) -> None:
        for start in range(0, len(run_ids), RESULTS_PAGE):
            for cell, page in self._cells.by_cell(run_ids[start : start + RESULTS_PAGE]):
                for result in await cell.store.loops.results(page):
                    self._waiters.has_closed(result)
