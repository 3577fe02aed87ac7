"""How large a deployment must be for a load: coordinators, workers, cells, cores, connections, WAL, disk. Pure.

fitted.py has the constants that were fitted to measurements, and the tests hold the model against these. Queued steps,
children, timers and traces are not in it: what it knows is inline steps.
"""

import math
from dataclasses import dataclass

from holdfast_coordinator.engine.policy import SessionPolicy
from holdfast_coordinator.store.cell import CLIENT_CONNECTIONS, LOOP_CONNECTIONS
from holdfast_coordinator.store.control import LANE_CONNECTIONS

from .fitted import FITTED, Fitted

LANES = 3
READER_CONNECTIONS = 4
WRITER_CONNECTIONS = 1
DOORBELL_CONNECTIONS = 2
CONTROL_CONNECTIONS = LANES * LANE_CONNECTIONS
CELL_CONNECTIONS = WRITER_CONNECTIONS + READER_CONNECTIONS + LOOP_CONNECTIONS + CLIENT_CONNECTIONS
SLOTS = 100
"""Attempts at once in a worker process, as by default."""
SECONDS_PER_DAY = 86_400
COORDINATORS_MAX = 1_000


@dataclass(slots=True, frozen=True)
class Wanted:
    """The load, and what the machines can do.

    steps_per_second: inline steps. payload_bytes: of each argument and each result. step_seconds: how long an attempt
    takes, most of it waiting; step_cpu_ms: how much of it is CPU of the worker. open_runs: that wait for something,
    beside those that run. retention_days: how long closed runs stay. commit_ms: what a commit takes when nothing else
    is done. busy_share: how busy a core may be. server_cores, server_wal_bytes: of one Postgres server; WAL per second.
    speed: of a core, that of the measurements being 1.
    """

    steps_per_second: float
    steps_per_run: int = 10
    payload_bytes: int = 150
    step_seconds: float = 0.05
    step_cpu_ms: float = 0.0
    open_runs: int = 0
    workers: int = 0
    cells: int = 1
    retention_days: float = 7.0
    commit_ms: float = 2.0
    busy_share: float = 0.6
    server_cores: int = 32
    server_wal_bytes: float = 200e6
    speed: float = 1.0


@dataclass(slots=True, frozen=True)
class StepCost:
    """What a step costs, in milliseconds of CPU of all processes of a kind together."""

    coordinator_ms: float
    postgres_ms: float


@dataclass(slots=True, frozen=True)
class Plan:
    """What is needed.

    coordinators: with one to spare. connections: when all pools are full, and twice the coordinators while they are
    replaced. transactions, wal_bytes: per second. disk_bytes: of closed runs, once the first are as old as they get,
    and of open ones. limits: what stands against it, as sentences; empty when holdfast can be set up like this.
    """

    workers: int
    coordinators: int
    cells: int
    coordinator_busy_share: float
    writer_busy_share: float
    worker_cores: float
    coordinator_cores: float
    postgres_cores: float
    client_cores: float
    commands_per_commit: float
    transactions: float
    connections: int
    connections_while_replaced: int
    heartbeats: float
    wal_bytes: float
    disk_bytes: float
    limits: tuple[str, ...]


def step_cost(transactions_per_step: float, *, fitted: Fitted = FITTED) -> StepCost:
    """CPU per step, loops not included. transactions_per_step: the fewer steps share a commit, the more of them."""
    return StepCost(
        fitted.coordinator_step_ms + transactions_per_step * fitted.coordinator_transaction_ms,
        fitted.postgres_step_ms + transactions_per_step * fitted.postgres_transaction_ms,
    )


def look_cost(coordinators: int, cells: int, *, closes_per_second: float = 0.0, fitted: Fitted = FITTED) -> StepCost:
    """CPU per second of the loops of all coordinators, in milliseconds.

    closes_per_second: runs that close, each of which every other coordinator takes note of.
    """
    looked_at = coordinators * cells
    foreign_closes = (coordinators - 1) * closes_per_second
    return StepCost(
        coordinators * fitted.coordinator_idle_ms + looked_at * fitted.coordinator_cell_idle_ms
        + foreign_closes * fitted.foreign_close_ms,
        coordinators * fitted.postgres_idle_ms + looked_at * fitted.postgres_cell_idle_ms,
    )  # fmt: skip


def idle_transactions(coordinators: int, cells: int, *, fitted: Fitted = FITTED) -> float:
    """Transactions per second of the loops of all coordinators."""
    return coordinators * (fitted.idle_transactions + cells * fitted.cell_idle_transactions)


def commands_per_commit(steps_per_second: float, writers: int, *, commit_ms: float, command_ms: float) -> float:
    """How many steps share a commit, at least one: what comes while one is under way makes the next.

    writers: coordinators x cells, as each coordinator writes each cell by itself. Infinite when they cannot keep up.
    """
    each = steps_per_second / writers / 1_000  # per millisecond
    free = 1 - each * command_ms
    return math.inf if free <= 0 else max(each * commit_ms / free, 1.0)


def wal_bytes_per_step(payload_bytes: int, *, fitted: Fitted = FITTED) -> float:
    """Full pages after a checkpoint not included: they are at most as much again."""
    return fitted.wal_step_bytes + fitted.wal_payload_share * payload_bytes


def closed_run_bytes(steps: int, payload_bytes: int, *, fitted: Fitted = FITTED) -> float:
    """What a closed run takes on disk, with its indexes."""
    return fitted.run_bytes + steps * (fitted.step_bytes + fitted.payload_copies * payload_bytes)


def plan(wanted: Wanted, *, fitted: Fitted = FITTED, policy: SessionPolicy | None = None) -> Plan:
    """What is needed for a load. Raises ValueError for one that no number of coordinators can take."""
    if wanted.steps_per_second <= 0 or wanted.steps_per_run < 1 or not 0 < wanted.busy_share < 1 or wanted.cells < 1:
        raise ValueError(f"no load, or no machine: {wanted}")
    core_ms = 1_000 * wanted.busy_share * wanted.speed
    rate = wanted.steps_per_second
    coordinators = _coordinators(wanted, core_ms, fitted)
    writers = coordinators * wanted.cells
    together = _together(wanted, writers, fitted)
    runs_per_second = rate / wanted.steps_per_run
    cost = step_cost(1 / together, fitted=fitted)
    looks = look_cost(coordinators, wanted.cells, closes_per_second=runs_per_second, fitted=fitted)
    worker_ms = fitted.worker_step_ms / wanted.speed + wanted.step_cpu_ms
    workers = max(
        wanted.workers, math.ceil(rate * worker_ms / (1_000 * wanted.busy_share)),
        math.ceil(rate * wanted.step_seconds / SLOTS / wanted.busy_share), 1,
    )  # fmt: skip
    heartbeats = workers / (policy or SessionPolicy()).heartbeat_interval.total_seconds()
    postgres_ms = rate * cost.postgres_ms + looks.postgres_ms
    wal = rate * wal_bytes_per_step(wanted.payload_bytes, fitted=fitted) + heartbeats * fitted.heartbeat_wal_bytes
    connections = coordinators * (CONTROL_CONNECTIONS + DOORBELL_CONNECTIONS + wanted.cells * CELL_CONNECTIONS)
    run_bytes = closed_run_bytes(wanted.steps_per_run, wanted.payload_bytes, fitted=fitted)
    kept = runs_per_second * wanted.retention_days * SECONDS_PER_DAY * run_bytes
    postgres_cores = postgres_ms / core_ms
    return Plan(
        workers=workers,
        coordinators=coordinators,
        cells=wanted.cells,
        coordinator_busy_share=(rate * cost.coordinator_ms + looks.coordinator_ms)
        / coordinators
        / 1_000
        / wanted.speed,
        writer_busy_share=rate / writers * cost.postgres_ms / 1_000 / wanted.speed,
        worker_cores=rate * worker_ms / (1_000 * wanted.busy_share),
        coordinator_cores=(rate * cost.coordinator_ms + looks.coordinator_ms) / core_ms,
        postgres_cores=postgres_cores,
        client_cores=runs_per_second * fitted.client_run_ms / core_ms,
        commands_per_commit=together,
        transactions=rate / together + idle_transactions(coordinators, wanted.cells, fitted=fitted),
        connections=connections,
        connections_while_replaced=2 * connections,
        heartbeats=heartbeats,
        wal_bytes=wal,
        disk_bytes=kept + wanted.open_runs * (run_bytes + fitted.open_run_bytes),
        limits=tuple(_limits(wanted, postgres_cores, wal)),
    )


def _coordinators(wanted: Wanted, core_ms: float, fitted: Fitted) -> int:
    """The fewest that are not too busy, and one to spare: what is lost or replaced must not be missed."""
    for needed in range(1, COORDINATORS_MAX):
        writers = needed * wanted.cells
        together = _together(wanted, writers, fitted)
        if math.isinf(together):
            continue
        cost = step_cost(1 / together, fitted=fitted)
        closes = wanted.steps_per_second / wanted.steps_per_run
        looks = look_cost(needed, wanted.cells, closes_per_second=closes, fitted=fitted)
        busy_ms = (wanted.steps_per_second * cost.coordinator_ms + looks.coordinator_ms) / needed
        if busy_ms <= core_ms:
            return needed + 1
    raise ValueError(f"{wanted.steps_per_second:g} steps/s are too many for {COORDINATORS_MAX} coordinators")


def _together(wanted: Wanted, writers: int, fitted: Fitted) -> float:
    command_ms = fitted.postgres_step_ms / wanted.speed
    return commands_per_commit(wanted.steps_per_second, writers, commit_ms=wanted.commit_ms, command_ms=command_ms)


def _limits(wanted: Wanted, postgres_cores: float, wal_bytes: float) -> list[str]:
    limits = []
    servers = max(
        math.ceil(postgres_cores / wanted.server_cores), math.ceil(wal_bytes / wanted.server_wal_bytes)
    )  # fmt: skip
    if servers > 1:
        limits.append(f"it takes {servers} Postgres servers of that size, and all cells are in one database yet")
    if wanted.cells > 1:
        limits.append("no option of holdfast makes more than one cell yet")
    return limits
