"""Carries the doorbell: sends the notices of this replica, takes those of others, and has the engine look at them.

Each of the three goes on by itself when another cannot; without any of them the looks at the rows find everything.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterator

import structlog

from holdfast.errors import HoldfastError
from holdfast_coordinator.engine.doorbell import HELLO_SECONDS, Doorbell, Rung
from holdfast_coordinator.store.port import DoorbellStore, StoreError

log = structlog.get_logger(__name__)

GATHER_SECONDS = 0.005
"""How long keys are gathered after a notice was said, for each other replica: a busy one says many at once."""
GATHER_SECONDS_MAX = 0.1
"""Longer, and work that is ready where nobody serves its queue would wait for it."""
AGAIN_SECONDS = 1.0
LAST_SECONDS = 1.0
SILENT_SECONDS = 3 * HELLO_SECONDS
"""Seconds without even its own notices after which a replica listens anew."""


def gather_seconds(others: int) -> float:
    """How long keys are gathered after a notice was said. others: how many replicas get each notice.

    Each gets the notices of all the others: with the same pause for any number of replicas, a hundred busy ones would
    say 20,000 a second and take in two million, each with a key or two. So twenty together say no more than a lone one.
    """
    return min(GATHER_SECONDS * max(others, 1), GATHER_SECONDS_MAX)


class DoorbellLoops:
    """See the module. look: has the engine look at what was rung for; raises StoreError."""

    def __init__(self, bell: Doorbell, store: DoorbellStore, look: Callable[[Rung], Awaitable[None]]) -> None:
        self._bell = bell
        self._store = store
        self._look = look
        self._news = asyncio.Event()
        self._rung = asyncio.Event()
        self._failing: set[str] = set()
        bell.on_news = self._news.set
        bell.on_rung = self._rung.set

    def all(self) -> Iterator[tuple[str, Coroutine[None, None, None]]]:
        """The loops, by name; each runs until it is cancelled."""
        yield "doorbell ring", self._ring_on()
        yield "doorbell listen", self._listen_on()
        yield "doorbell look", self._look_on()

    async def _ring_on(self) -> None:
        try:
            while True:
                try:
                    async with asyncio.timeout(HELLO_SECONDS):
                        await self._news.wait()
                except TimeoutError:
                    self._bell.here()
                self._news.clear()
                await self._try("ring", self._ring)
                await asyncio.sleep(gather_seconds(self._bell.others))
        finally:
            await self._leave()

    async def _ring(self) -> None:
        if notices := self._bell.take():
            await self._store.ring(notices)

    async def _leave(self) -> None:
        self._bell.bye()
        with contextlib.suppress(StoreError, TimeoutError):
            async with asyncio.timeout(LAST_SECONDS):
                await self._ring()
        self._store.close()

    async def _listen_on(self) -> None:
        while True:
            await self._try("listen", self._listen)

    async def _listen(self) -> None:
        async with self._store.listening(silent_seconds=SILENT_SECONDS) as notices:
            self._bell.hello()
            async for notice in notices:
                self._works("listen")
                self._bell.receive(notice)

    async def _look_on(self) -> None:
        while True:
            await self._rung.wait()
            self._rung.clear()
            await self._try("look", self._look_once)

    async def _look_once(self) -> None:
        await self._look(self._bell.take_rung())

    async def _try(self, what: str, run_once: Callable[[], Awaitable[None]]) -> None:
        """Runs once; a failure is logged when it is the first, and nothing is tried for a moment."""
        try:
            await run_once()
            self._works(what)
        except Exception as error:
            # Whatever it is: nothing but latency depends on this, so it must not end the replica.
            if what not in self._failing:
                is_known = isinstance(error, HoldfastError | StoreError)
                log.warning("doorbell_failed", what=what, error=str(error), exc_info=None if is_known else error)
            self._failing.add(what)
            await asyncio.sleep(AGAIN_SECONDS)

    def _works(self, what: str) -> None:
        if what in self._failing:
            self._failing.discard(what)
            log.info("doorbell_recovered", what=what)
