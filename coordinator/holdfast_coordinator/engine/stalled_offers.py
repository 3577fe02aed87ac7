"""Offers runs that other builds stalled to a worker that has come: it may bring the code that fits them."""

import asyncio

import structlog

from holdfast.errors import HoldfastError
from holdfast_coordinator.domain.commands import OfferStalled
from holdfast_coordinator.store.port import StoreError

from .attachments import Attachment
from .cells import Cell, Cells
from .matcher import Matcher
from .sessions import SessionOpening

log = structlog.get_logger(__name__)

STALLED_PAGE = 1_000
OFFER_AGAIN_SECONDS = 1.0
OFFER_PARKED_SECONDS = 1.0
"""How long an offer waits for a row that is locked; then its run is left to the next worker."""


class StalledOffers:
    """See the module."""

    def __init__(self, cells: Cells, matcher: Matcher) -> None:
        self._cells = cells
        self._matcher = matcher

    async def offer(self, worker: SessionOpening, attachment: Attachment) -> None:
        """Offers runs that other builds stalled: the code that fits them may have come with this worker."""
        while self._matcher.attachment(attachment.session_id) is attachment:
            try:
                for cell in self._cells:
                    await self._offer_in(cell, worker)
                return
            except (HoldfastError, StoreError) as error:
                # Again, while the worker is here: its coming is the only thing that makes these runs move.
                log.warning("stalled_not_offered", session_id=attachment.session_id, error=str(error))
                await asyncio.sleep(OFFER_AGAIN_SECONDS)

    async def _offer_in(self, cell: Cell, worker: SessionOpening) -> None:
        more = True
        while more:
            run_ids = await cell.store.stalled_by_others(
                worker.namespace, worker.queue, list(worker.workflows), worker.build, STALLED_PAGE
            )
            offered = await cell.writer.submit_all(
                [OfferStalled(run_id, worker.build) for run_id in run_ids], parked_seconds=OFFER_PARKED_SECONDS
            )
            more = len(run_ids) == STALLED_PAGE and any(answer is True for answer in offered)
