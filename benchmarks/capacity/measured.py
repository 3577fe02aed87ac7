"""What measure.py has measured: measured.json is what it printed with --json, for every shape. Plain data."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(slots=True, frozen=True)
class Measured:
    """What a stack of this shape cost. CPU in milliseconds per step, of all processes of a kind together.

    idle_*: per second, while nothing runs; CPU in milliseconds. *_bytes_per_run: what a closed run of ten steps keeps.
    """

    coordinators: int
    cells: int
    payload_bytes: int
    steps_per_second: float
    client_ms: float
    worker_ms: float
    coordinator_ms: float
    postgres_ms: float
    transactions_per_step: float
    wal_bytes_per_step: float
    connections: int
    journal_rows_per_run: float
    table_bytes_per_run: float
    index_bytes_per_run: float
    idle_transactions: float
    idle_coordinator_ms: float
    idle_postgres_ms: float


def measured() -> tuple[Measured, ...]:
    """What was measured of every shape, in the order of measured.json."""
    return tuple(Measured(**one) for one in json.loads(Path(__file__).with_name("measured.json").read_text()))
