"""Claims ready work for the sessions of this replica: one claim per queue at a time, over all cells.

A hand-off needs no claim. This is for what was left behind: when there was no room, or by another replica.
"""

import asyncio
from datetime import timedelta
from typing import cast

import structlog

from holdfast.errors import HoldfastError
from holdfast_coordinator.domain.claimed_work import Claimed
from holdfast_coordinator.domain.commands import ClaimRuns, ClaimTasks
from holdfast_coordinator.store.port import StoreError

from .background_tasks import Background
from .cells import Cell, Cells
from .matcher import Matcher, QueueKey

log = structlog.get_logger(__name__)

CLAIMED_MAX = 1_000
"""Runs, and steps, that one claim takes at most, however much room there is."""
TIMER_MAX = timedelta(hours=1)
TIMER_MARGIN = timedelta(milliseconds=5)


class Claims:
    """See the module."""

    def __init__(self, cells: Cells, matcher: Matcher, background: Background) -> None:
        self._cells = cells
        self._matcher = matcher
        self._background = background
        self._under_way: set[QueueKey] = set()
        self._again: set[QueueKey] = set()

    def claim_soon(self, key: QueueKey) -> None:
        """Claims for a queue; while a claim for it is under way, once more after it."""
        if key in self._under_way:
            self._again.add(key)
            return
        self._under_way.add(key)
        self._background.spawn(self._claim(key))

    def claim_after(self, wait: timedelta, key: QueueKey, step: str) -> None:
        """Claims when a step that waits for its retry is ready; without this, the next look around would find it.

        Best effort, like every belief: a longest wait keeps the timers few, a margin keeps the claim from being early.
        """
        if wait <= TIMER_MAX and self._matcher.serves(key):
            loop = asyncio.get_running_loop()
            loop.call_later((wait + TIMER_MARGIN).total_seconds(), self._matcher.left_queued, key, step)

    async def _claim(self, key: QueueKey) -> None:
        try:
            again = True
            while again:
                self._again.discard(key)
                again = await self._claim_backlog(key) or key in self._again
        except (HoldfastError, StoreError) as error:
            log.warning("claim_failed", queue=key[1], error=str(error))
        finally:
            self._under_way.discard(key)

    async def _claim_backlog(self, key: QueueKey) -> bool:
        """Claims once in every cell; True when another claim may find more that sessions take."""
        workflows, steps = self._matcher.take_backlog(key)
        if not workflows and not steps:
            return False
        room = self._matcher.room(key)
        left_runs, left_steps = set(workflows), set(steps)
        try:
            # In all cells at once. Nothing is handed off meanwhile: with one cell after the other, what was left ready
            # in that time was enough, with many cells, to keep replicas claiming for ever.
            claiming = [self._claim_in(cell, key, workflows, steps) for cell in self._cells]
            answers = await asyncio.gather(*claiming, return_exceptions=True)
            found = [answer for answer in answers if not isinstance(answer, BaseException)]
            if len(found) < len(answers):
                raise next(answer for answer in answers if isinstance(answer, BaseException))
            left_runs = set[str]().union(*(runs for runs, _ in found))
            left_steps = set[str]().union(*(queued for _, queued in found))
        finally:
            self._matcher.end_claim(key, left_runs, left_steps)
        # With the room that it had before, another claim would find the same again and again.
        return bool(left_runs or left_steps) and self._matcher.room(key) != room

    async def _claim_in(
        self, cell: Cell, key: QueueKey, workflows: tuple[str, ...], steps: tuple[str, ...]
    ) -> tuple[set[str], set[str]]:
        """Claims once in a cell; the workflows and steps of which it may have more."""
        runs_free, slots_free = self._matcher.room(key)
        commands: list[ClaimRuns | ClaimTasks] = []
        left: tuple[set[str], set[str]] = set(workflows), set(steps)
        if workflows and runs_free:
            builds = self._matcher.lone_builds(key, workflows)
            commands.append(ClaimRuns(*key, workflows, min(runs_free, CLAIMED_MAX), builds))
        if steps and slots_free:
            commands.append(ClaimTasks(*key, steps, min(slots_free, CLAIMED_MAX)))
        for command, answer in zip(commands, await cell.writer.submit_all(commands), strict=True):
            if isinstance(answer, HoldfastError):
                log.error("claim_refused", queue=key[1], error=str(answer))
                continue
            names = left[isinstance(command, ClaimTasks)]
            names.intersection_update(cast(Claimed, answer).left)
        return left
