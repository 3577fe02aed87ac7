"""The runs that one session has under a lease: read, replayed, at work, left; and those kept for their next lease.

It does no I/O and advances no code but in a replay: who hosts it reads journals and gives turns.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Protocol

from holdfast.channel.leases import Held, Lease, Row
from holdfast.definitions.definitions import WorkflowDefinition
from holdfast.journal import Arguments, Mail
from holdfast.worker.cache import RunCache
from holdfast.worker.code_guard import CodeGuard
from holdfast.worker.holder import Phase, RunHolder
from holdfast.worker.rebuilds import Rebuilds
from holdfast.worker.stall_reasons import missing_words

log = logging.getLogger("holdfast.worker")


class LeaseHost(Protocol):
    """What the runs need of the crew."""

    def make_holder(self, lease: Lease, arguments: Arguments) -> RunHolder:
        """A holder that has replayed nothing yet."""

    def read_journal(self, lease: Lease) -> None:
        """The run has to be rebuilt, and its journal is not at hand."""

    def ask_for_turn(self) -> None:
        """There is something to replay."""

    def taken_in(self, holder: RunHolder) -> None:
        """The run goes on here."""

    def news(self, holder: RunHolder) -> None:
        """The run has mail."""

    def left(self, holder: RunHolder) -> None:
        """The run is no longer here; nothing of it is advanced or reported."""


class LeasedRuns:
    """See the module. held: by run id, also of runs that are rebuilt. holders: those that are at work."""

    def __init__(self, host: LeaseHost, workflows: Mapping[str, WorkflowDefinition], *, cached_max: int) -> None:
        self.held: dict[str, Held] = {}
        self.holders: dict[str, RunHolder] = {}
        self._host = host
        self._workflows = workflows
        self._rebuilds = Rebuilds()
        self._cache = RunCache(cached_max)
        self._next_leases: dict[str, Lease] = {}

    def __len__(self) -> int:
        return len(self.holders) + len(self._rebuilds)

    def with_mail_seen(self, held: Held) -> Held:
        """The same with how far the mail of its run has come. Also called by the heartbeat thread."""
        if self.held.get(held.run_id) != held:
            return held  # a queued attempt, or a lease that waits until the one before has its answer
        holder = self.holders.get(held.run_id)
        seen = self._rebuilds.mail_seen(held.run_id) if holder is None else holder.mail_seen
        return Held(held.run_id, 0, held.epoch, seen) if seen else held

    # Coming

    def lease_arrived(self, lease: Lease) -> None:
        """Goes on with a run that is in memory, or begins to rebuild it."""
        held = self.held.get(lease.run_id)
        if held is not None and held.epoch >= lease.epoch:
            return
        holder = self.holders.get(lease.run_id)
        if holder is not None:
            if holder.is_in_flight:
                # The answer to its last report is on its way and says whether what is in memory is worth keeping.
                self._next_leases[lease.run_id] = lease
                return
            self._forget(holder)
        self.held[lease.run_id] = Held(lease.run_id, 0, lease.epoch)
        self._rebuilds.stop(lease.run_id)
        cached = self._cache.take(lease)
        if cached is not None:
            cached.resume(lease)
            self._take_in(cached)
        elif lease.workflow not in self._workflows:
            # Left out of the held set, it is offered to others after a while.
            log.error("run %s is left to others: %s", lease.run_id, missing_words("workflow", lease.workflow))
            del self.held[lease.run_id]
        elif lease.arguments is not None and lease.rows and lease.rows[-1].seq == lease.journal_length:
            self._rebuilds.start(lease)
            self.rows_arrived(lease, lease.rows, lease.arguments, more=False)
        else:
            self._rebuilds.start(lease)
            self._host.read_journal(lease)

    def rows_arrived(self, lease: Lease, rows: Iterable[Row], arguments: Arguments | None, *, more: bool) -> bool:
        """Takes a page of a journal that is being read; False when it is no longer wanted."""
        if not self._rebuilds.wants(lease):
            return False
        if arguments is not None:
            self._rebuilds.prepared(lease, self._host.make_holder(lease, arguments))
        self._rebuilds.add(lease, [entry for row in rows for entry in row.entries], more=more)
        self._host.ask_for_turn()
        return True

    def journal_unreadable(self, lease: Lease) -> None:
        """Gives up a run whose journal cannot be read; others are offered it when it is missing from the held set."""
        if self._rebuilds.wants(lease):
            self._stop_rebuild(lease.run_id)

    def replay_some(self, guard: CodeGuard) -> bool:
        """Replays a part of what is at hand; True when there is more. Call it from a loop callback only."""
        for holder in self._rebuilds.replay_some(guard):
            self._take_in(holder)
        return self._rebuilds.has_work

    def _take_in(self, holder: RunHolder) -> None:
        self.holders[holder.run_id] = holder
        self._host.taken_in(holder)

    def mail_arrived(self, held: Held, mail: tuple[Mail, ...]) -> bool:
        """Takes mail for a run that is held; False when it is for another lease."""
        if self.held.get(held.run_id) != held:
            return False
        holder = self.holders.get(held.run_id)
        if holder is None:
            self._rebuilds.mail_arrived(held.run_id, mail)
        else:
            holder.mail_arrived(mail)
            self._host.news(holder)
        return True

    # Leaving

    def settled(self, holder: RunHolder) -> None:
        """A transition of this run has its answer: it may have left, and its next lease may have come already."""
        if holder.phase is not Phase.ACTIVE:
            self._left(holder)
            if holder.phase is Phase.SUSPENDED:
                self._cache.keep(holder)
        following = self._next_leases.pop(holder.run_id, None)
        if following is not None:
            self.lease_arrived(following)

    def ended_elsewhere(self, held: Held) -> None:
        """Drops a run whose lease has ended, as the coordinator says."""
        if self.held.get(held.run_id) != held:
            return
        holder = self.holders.get(held.run_id)
        if holder is None:
            self._stop_rebuild(held.run_id)
        elif not holder.is_in_flight:
            # With a report in flight its answer decides: the lease may have ended by that very report.
            self._forget(holder)

    def give_up(self, held: Held) -> None:
        """Drops a run, whatever is in flight."""
        if self.held.get(held.run_id) == held:
            holder = self.holders.get(held.run_id)
            if holder is not None:
                self._forget(holder)
            self._stop_rebuild(held.run_id)

    def hand_back_rebuilds(self) -> None:
        """Gives up all runs that are not rebuilt yet."""
        for run_id in self._rebuilds.clear():
            self.held.pop(run_id, None)

    def drop_all(self) -> None:
        """Drops everything, also what is kept for its next lease."""
        for holder in list(self.holders.values()):
            self._forget(holder)
        self._rebuilds.clear()
        self._cache.clear()
        self._next_leases.clear()
        self.held.clear()

    def _stop_rebuild(self, run_id: str) -> None:
        self._rebuilds.stop(run_id)
        self.held.pop(run_id, None)

    def _forget(self, holder: RunHolder) -> None:
        holder.drop()
        self._left(holder)

    def _left(self, holder: RunHolder) -> None:
        run_id = holder.run_id
        if self.holders.get(run_id) is holder:
            del self.holders[run_id]
            self.held.pop(run_id, None)
        self._host.left(holder)
