"""The constants of the model that are fitted to what was measured; measured.json has that. Plain data.

Measured on two shared cores of an ordinary machine, with Python 3.11 and an embedded Postgres that syncs each commit to
a local disk; runs of ten inline steps, 500 of them in flight; medians of three rounds. docs/capacity.md has the table.
"""

from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class Fitted:
    """See the module. *_ms: milliseconds of CPU. *_idle_ms: per second, for each coordinator and each cell of it.

    foreign_close_ms: of each coordinator, for each run that any other closes: a key of a notice, and three rows of
    looks at what closed; timed in one process. wal_payload_share, payload_copies: bytes for each byte of payload.
    run_bytes, open_run_bytes: from runs of one step, and from runs that no worker takes. heartbeat_wal_bytes:
    estimated.
    """

    worker_step_ms: float = 0.135
    client_run_ms: float = 0.19
    coordinator_step_ms: float = 0.062
    coordinator_transaction_ms: float = 0.23
    postgres_step_ms: float = 0.026
    postgres_transaction_ms: float = 0.35
    foreign_close_ms: float = 0.01
    coordinator_idle_ms: float = 6.3
    coordinator_cell_idle_ms: float = 0.6
    postgres_idle_ms: float = 1.5
    postgres_cell_idle_ms: float = 0.85
    idle_transactions: float = 6.2
    cell_idle_transactions: float = 5.2
    wal_step_bytes: float = 770.0
    wal_payload_share: float = 2.56
    run_bytes: float = 1_730.0
    step_bytes: float = 215.0
    payload_copies: float = 3.15
    open_run_bytes: float = 1_300.0
    heartbeat_wal_bytes: float = 200.0


FITTED = Fitted()
