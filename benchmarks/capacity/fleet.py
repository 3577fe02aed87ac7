"""What is simulated and what comes out: a fleet, its load, and what it asks of its database. Plain data.

What coordinators and workers do by themselves is read from their own constants, so that this stays true of them.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from holdfast_coordinator.engine.policy import SessionPolicy
from holdfast_coordinator.loops.alarms import LONGEST_SLEEP_SECONDS
from holdfast_coordinator.loops.doorbell import gather_seconds
from holdfast_coordinator.loops.gauges import GAUGES_SECONDS
from holdfast_coordinator.loops.upkeep import FLUSH_SECONDS, LOOK_AROUND_SECONDS, OVERDUE_SECONDS, PRUNE_SECONDS

NAMESPACE = "default"
STARTED_AT = datetime(1970, 1, 1, tzinfo=UTC)
"""When the time of a simulation begins."""
ROUND_TRIP_SECONDS = 0.001
"""What a question to the database takes, and a notice or a message on its way."""
COMMIT_SECONDS = 0.003
COMMAND_SECONDS = 0.00003
"""What each command of a batch adds to its transaction."""
SLOTS, RUNS_MAX = 100, 1_000
"""Of a worker, as by default."""


@dataclass(slots=True, frozen=True)
class Fleet:
    """Coordinators, workers and their load.

    queues: workers are spread over them evenly, and runs too. names: workflows of a queue, each with as many steps.
    held_runs: leased runs that do nothing, of each worker. alarms_per_second: timers that come due, in all cells.
    has_metrics: whether coordinators read the gauges. gather: the pause between two notices of a coordinator, by how
    many others there are.
    """

    coordinators: int = 100
    workers: int = 10_000
    cells: int = 1
    queues: int = 1
    names: int = 5
    starts_per_second: float = 0.0
    steps_per_run: int = 10
    step_seconds: float = 0.05
    held_runs: int = 0
    alarms_per_second: float = 0.0
    has_metrics: bool = False
    has_doorbell: bool = True
    gather: Callable[[int], float] = gather_seconds
    policy: SessionPolicy = field(default_factory=SessionPolicy)

    def turns(self) -> dict[str, float]:
        """The loops of a coordinator that ask the database, by name: seconds between two turns of each."""
        ttl = self.policy.ttl.total_seconds()
        flush = min(FLUSH_SECONDS, ttl / 8)
        of_all = {
            "heartbeats": flush, "burials": flush, "unknown_grants": ttl, "sweep": ttl,
            "held_work": LOOK_AROUND_SECONDS, "work_elsewhere": LOOK_AROUND_SECONDS,
            "closed_elsewhere": LOOK_AROUND_SECONDS, "registry": LOOK_AROUND_SECONDS, "prune": PRUNE_SECONDS,
        }  # fmt: skip
        if self.has_metrics:
            of_all["gauges"] = GAUGES_SECONDS
        of_cells = {
            "alarms": LONGEST_SLEEP_SECONDS,
            "outbox": LONGEST_SLEEP_SECONDS,
            "overdue attempts": OVERDUE_SECONDS,
        }
        return of_all | of_cells


@dataclass(slots=True)
class Tally:
    """What was counted, by what asked for it. rows: read or written, and index entries probed."""

    transactions: Counter[str] = field(default_factory=Counter)
    statements: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)
    notices: int = 0
    notices_taken: int = 0
    keys_taken: int = 0
    notice_bytes: int = 0
    commands: int = 0
    claims: int = 0
    runs_claimed: int = 0
    runs_handed_off: int = 0
    runs_started: int = 0
    runs_closed: int = 0
    lease_waits: list[float] = field(default_factory=list)

    def asks(self, what: str, *, statements: int = 1, rows: int = 0) -> None:
        """One round trip to the database, which is a transaction of its own."""
        self.transactions[what] += 1
        self.statements[what] += statements
        self.rows[what] += rows


@dataclass(slots=True, frozen=True)
class Traffic:
    """What a fleet does per second. By loop or cause: transactions, statements, rows. messages: by call, of workers and
    clients together, over all coordinators."""

    transactions: Mapping[str, float]
    statements: Mapping[str, float]
    rows: Mapping[str, float]
    messages: Mapping[str, float]
    notices: float
    notices_taken: float
    keys_taken: float
    notice_bytes_taken: float
    commands_per_commit: float
    claims: float
    claims_per_claimed_run: float
    handed_off_share: float
    lease_wait_p99_seconds: float
    closed: float

    @property
    def all_transactions(self) -> float:
        """Of all loops and causes."""
        return sum(self.transactions.values())

    @property
    def all_rows(self) -> float:
        """Of all loops and causes."""
        return sum(self.rows.values())


def traffic(tally: Tally, seconds: float) -> Traffic:
    """Counts of `seconds`, per second."""

    def rates(counted: Counter[str]) -> dict[str, float]:
        return {name: counted[name] / seconds for name in sorted(counted)}

    waits = sorted(tally.lease_waits)
    return Traffic(
        transactions=rates(tally.transactions),
        statements=rates(tally.statements),
        rows=rates(tally.rows),
        messages=rates(tally.messages),
        notices=tally.notices / seconds,
        notices_taken=tally.notices_taken / seconds,
        keys_taken=tally.keys_taken / seconds,
        notice_bytes_taken=tally.notice_bytes / seconds,
        commands_per_commit=tally.commands / max(tally.transactions["commits"], 1),
        claims=tally.claims / seconds,
        claims_per_claimed_run=tally.claims / tally.runs_claimed if tally.runs_claimed else 0.0,
        handed_off_share=tally.runs_handed_off / tally.runs_started if tally.runs_started else 1.0,
        lease_wait_p99_seconds=waits[int(len(waits) * 0.99)] if waits else 0.0,
        closed=tally.runs_closed / seconds,
    )
