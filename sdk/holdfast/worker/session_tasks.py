"""What the crew leaves for the session to do. Made before both, so that neither needs the other to be there first."""

import asyncio
from collections import deque
from collections.abc import Sequence

from holdfast.channel.leases import Lease


class SessionTasks:
    """Reports and progress to send, journals to read, in memory. Used on the event loop only."""

    def __init__(self) -> None:
        self._report_is_due = asyncio.Event()
        self._save_is_due = asyncio.Event()
        self._journals: deque[Lease] = deque()
        self._journal_is_wanted = asyncio.Event()

    # What the crew calls

    def report_soon(self) -> None:
        """There is something to report."""
        self._report_is_due.set()

    def save_soon(self) -> None:
        """There is progress to save."""
        self._save_is_due.set()

    def read_journal(self, lease: Lease) -> None:
        """A leased run has to be rebuilt, and its journal is not at hand."""
        self._journals.append(lease)
        self._journal_is_wanted.set()

    # What the session calls

    @property
    def has_report(self) -> bool:
        """Whether there is something to report that `next_report` has not said yet."""
        return self._report_is_due.is_set()

    async def next_report(self) -> None:
        """Waits until there is something to report."""
        await self._report_is_due.wait()
        self._report_is_due.clear()

    async def next_save(self) -> None:
        """Waits until there is progress to save."""
        await self._save_is_due.wait()
        self._save_is_due.clear()

    async def next_journals(self, limit: int) -> list[Lease]:
        """Waits for leases whose journals are to be read; the first of them, at most `limit`."""
        while not self._journals:
            self._journal_is_wanted.clear()
            await self._journal_is_wanted.wait()
        return [self._journals.popleft() for _ in range(min(limit, len(self._journals)))]

    def read_again(self, leases: Sequence[Lease]) -> None:
        """Journals that were not read: they come first the next time."""
        self._journals.extendleft(reversed(leases))
