"""What runs were started with, for runs that this replica has leased before: a lease needs it each time."""

from collections import OrderedDict

from holdfast_coordinator.domain.rows import RunRecord

BYTES_MAX = 32 * 1024 * 1024
RECORD_BYTES = 500


class RecentRecords:
    """The records used last, bounded by the size of their arguments; records never change."""

    def __init__(self) -> None:
        self._records: OrderedDict[str, RunRecord] = OrderedDict()
        self._bytes = 0

    def get(self, run_id: str) -> RunRecord | None:
        """The record of a run, if it is at hand."""
        return self._records.get(run_id)

    def put(self, record: RunRecord) -> None:
        """Keeps a record as the one used last."""
        if self._records.pop(record.run_id, None) is None:
            self._bytes += RECORD_BYTES + len(record.arguments)
        self._records[record.run_id] = record
        while self._bytes > BYTES_MAX:
            _, oldest = self._records.popitem(last=False)
            self._bytes -= RECORD_BYTES + len(oldest.arguments)
