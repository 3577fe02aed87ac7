"""A loop: does one thing every so often until it is stopped. A failure is logged, and the next turn tries again.

No failure ends a loop, a defect least of all: what one turn met, say a row that breaks it, must not stop the others
that the loop serves, nor the replica.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from holdfast.errors import HoldfastError
from holdfast_coordinator.store.port import StoreError

log = structlog.get_logger(__name__)


async def periodic(name: str, run_once: Callable[[], Awaitable[object]], *, every_seconds: float) -> None:
    """Runs until it is cancelled; a turn begins `every_seconds` after the one before ended."""
    failing = False
    while True:
        try:
            await run_once()
            if failing:
                log.info("loop_recovered", loop=name)
            failing = False
        except (HoldfastError, StoreError) as error:
            if not failing:
                log.warning("loop_failed", loop=name, error=str(error))
            failing = True
        except Exception:
            if not failing:
                log.exception("loop_failed", loop=name)
            failing = True
        await asyncio.sleep(every_seconds)
