"""Runs that are being rebuilt from their journals.

A part at a time, so that a long journal does not hold up the rest. No I/O: the session reads the pages.
"""

from collections import deque
from collections.abc import Sequence

from holdfast.channel.leases import Lease
from holdfast.journal import Entry, Mail
from holdfast.worker.code_guard import CodeGuard
from holdfast.worker.holder import RunHolder

ENTRIES_PER_TURN = 1_000


class _Rebuild:
    __slots__ = ("entries", "holder", "is_read", "lease", "mail")

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.holder: RunHolder | None = None
        self.entries: deque[Entry] = deque()
        self.is_read = False
        self.mail: list[Mail] = []


class Rebuilds:
    """The leases whose journals are read or replayed now, one per run."""

    __slots__ = ("_at_hand", "_rebuilds")

    def __init__(self) -> None:
        self._rebuilds: dict[str, _Rebuild] = {}
        # Those that can be fed now: to look for them among a thousand that wait for their pages took longer than that.
        self._at_hand: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._rebuilds)

    @property
    def has_work(self) -> bool:
        """True when there is something to replay now."""
        return bool(self._at_hand)

    def start(self, lease: Lease) -> None:
        """Begins to rebuild a run."""
        self._at_hand.pop(lease.run_id, None)
        self._rebuilds[lease.run_id] = _Rebuild(lease)

    def wants(self, lease: Lease) -> bool:
        """True while the run is rebuilt for this very lease."""
        rebuild = self._rebuilds.get(lease.run_id)
        return rebuild is not None and rebuild.lease is lease

    def prepared(self, lease: Lease, holder: RunHolder) -> None:
        """The arguments are known, so there is a holder to feed."""
        rebuild = self._rebuilds[lease.run_id]
        rebuild.holder = holder
        holder.instance.foresee(rebuild.entries)
        if rebuild.entries or rebuild.is_read:
            self._at_hand[lease.run_id] = None

    def add(self, lease: Lease, entries: Sequence[Entry], *, more: bool) -> None:
        """More of the journal is at hand."""
        rebuild = self._rebuilds[lease.run_id]
        rebuild.entries.extend(entries)
        if rebuild.holder is not None:
            rebuild.holder.instance.foresee(entries)
            if entries or not more:
                self._at_hand[lease.run_id] = None
        rebuild.is_read = not more

    def mail_arrived(self, run_id: str, mail: Sequence[Mail]) -> None:
        """Keeps mail until the run is rebuilt."""
        rebuild = self._rebuilds.get(run_id)
        if rebuild is not None:
            rebuild.mail.extend(mail)

    def mail_seen(self, run_id: str) -> int:
        """The number up to which all mail of a run has come. Also called by the heartbeat thread."""
        rebuild = self._rebuilds.get(run_id)
        if rebuild is None:
            return 0
        lease = rebuild.lease
        seen = lease.mail[-1].number if lease.mail else lease.mail_taken
        came = {mail.number for mail in rebuild.mail}
        while seen + 1 in came:
            seen += 1
        return seen

    def stop(self, run_id: str) -> None:
        """Forgets a run; what was read of it is thrown away."""
        rebuild = self._rebuilds.pop(run_id, None)
        self._at_hand.pop(run_id, None)
        if rebuild is not None and rebuild.holder is not None:
            rebuild.holder.drop()

    def clear(self) -> list[str]:
        """Forgets all; returns their run ids."""
        run_ids = list(self._rebuilds)
        for run_id in run_ids:
            self.stop(run_id)
        return run_ids

    def replay_some(self, guard: CodeGuard) -> list[RunHolder]:
        """Replays some entries; returns the runs that are rebuilt by it. Call it from a loop callback only."""
        budget = ENTRIES_PER_TURN
        done = []
        while self._at_hand and budget > 0:
            run_id = next(iter(self._at_hand))
            rebuild = self._rebuilds[run_id]
            holder, entries = rebuild.holder, rebuild.entries
            assert holder is not None, run_id
            count = min(len(entries), budget)
            budget -= max(count, 1)
            part = [entries.popleft() for _ in range(count)]
            more = bool(entries) or not rebuild.is_read
            if not entries:
                del self._at_hand[run_id]
            guard.running = holder
            holder.replay(part, more=more)
            guard.leave()
            if not more:
                del self._rebuilds[run_id]
                holder.mail_arrived(rebuild.mail)
                done.append(holder)
        return done
