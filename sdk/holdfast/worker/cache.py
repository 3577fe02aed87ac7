"""Suspended runs that this worker still has in memory: the sticky cache. It bounds them and never trusts them."""

from collections import OrderedDict

from holdfast.channel.leases import Lease
from holdfast.worker.holder import Phase, RunHolder


class RunCache:
    """At most `limit` suspended runs; the one unused for longest goes first."""

    __slots__ = ("_limit", "_runs")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._runs: OrderedDict[str, RunHolder] = OrderedDict()

    def __len__(self) -> int:
        return len(self._runs)

    def keep(self, holder: RunHolder) -> None:
        """Keeps a run whose suspension was acknowledged."""
        assert holder.phase is Phase.SUSPENDED, holder.phase
        self._runs[holder.run_id] = holder
        self._runs.move_to_end(holder.run_id)
        while len(self._runs) > self._limit:
            self._runs.popitem(last=False)[1].drop()

    def take(self, lease: Lease) -> RunHolder | None:
        """The run that the lease is about, when it was fed exactly its journal. An outdated one is dropped."""
        holder = self._runs.pop(lease.run_id, None)
        if holder is not None and not holder.is_valid_for(lease):
            holder.drop()
            return None
        return holder

    def clear(self) -> None:
        """Drops all of them."""
        while self._runs:
            self._runs.popitem()[1].drop()
