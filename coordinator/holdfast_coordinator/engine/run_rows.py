"""What runs were started with. A lease needs it each time, a parent's children each time: those used last are kept."""

from collections import OrderedDict
from collections.abc import Iterable

from holdfast_coordinator.domain.rows import RunRow
from holdfast_coordinator.store.port import RECORDS_BYTES_MAX

from .cells import Cells

BYTES_MAX = 32 * 1024 * 1024
RECORD_BYTES = 500


class Records:
    """The records of runs, from memory or from their cells; records never change.

    What is kept is bounded by the size of arguments.
    """

    def __init__(self, cells: Cells, *, bytes_max: int = BYTES_MAX) -> None:
        self._cells = cells
        self._bytes_max = bytes_max
        self._records: OrderedDict[str, RunRow] = OrderedDict()
        self._bytes = 0

    async def of(self, wanted: Iterable[RunRow | str]) -> dict[str, RunRow]:
        """The records of runs by run id; what is wanted are run ids, or records that are at hand. Raises StoreError.

        A run that does not exist is left out.
        """
        found, _ = await self.first_of(wanted, RECORDS_BYTES_MAX)
        return found

    async def first_of(self, wanted: Iterable[RunRow | str], max_bytes: int) -> tuple[dict[str, RunRow], bool]:
        """Like `of`, without reading more once max_bytes of arguments were read; True when some may be left."""
        is_cut = False
        found: dict[str, RunRow] = {}
        missing = []
        for one in wanted:
            record = self._records.get(one) if isinstance(one, str) else one
            if record is None:
                missing.append(str(one))
            else:
                found[record.run_id] = record
        for cell, run_ids in self._cells.by_cell(missing) if missing else ():
            read = await cell.store.records(run_ids, max_bytes)
            is_cut |= sum(len(record.arguments) for record in read.values()) > max_bytes
            found |= read
        for record in found.values():
            self._keep(record)
        return found, is_cut

    def known(self, run_id: str) -> RunRow | None:
        """The record of a run if it is in memory."""
        return self._records.get(run_id)

    def _keep(self, record: RunRow) -> None:
        if self._records.pop(record.run_id, None) is None:
            self._bytes += RECORD_BYTES + len(record.arguments)
        self._records[record.run_id] = record
        while self._bytes > self._bytes_max:
            _, oldest = self._records.popitem(last=False)
            self._bytes -= RECORD_BYTES + len(oldest.arguments)
