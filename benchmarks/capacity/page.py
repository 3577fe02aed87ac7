"""The tables of docs/capacity.md: `python -m benchmarks.capacity.page` writes them anew. A test compares those that
take no time.
"""

import io
from collections.abc import Callable, Iterable, Sequence

from rich.console import Console

from ..processes import ROOT
from .command import table_of
from .fleet import Fleet, Traffic
from .measured import Measured, measured
from .model import Wanted, plan
from .simulation import simulate

PAGE = ROOT / "docs" / "capacity.md"
EXAMPLE = Wanted(20_000)
PAYLOAD_BYTES = 150
SECONDS, SETTLE_SECONDS = 4.0, 2.0

FLEETS = (
    ("2, 200 workers", Fleet(2, 200, starts_per_second=300)),
    ("10, 1,000 workers", Fleet(10, 1_000, starts_per_second=300)),
    ("30, 3,000 workers", Fleet(30, 3_000, starts_per_second=300)),
    ("100, 10,000 workers", Fleet(100, 10_000, starts_per_second=300)),
    ("the same, no doorbell", Fleet(100, 10_000, starts_per_second=300, has_doorbell=False)),
    ("the same, 1,000 queues", Fleet(100, 10_000, queues=1_000, starts_per_second=300)),
    ("the same, 16 cells", Fleet(100, 10_000, cells=16, starts_per_second=300)),
    ("idle, 20 leases a worker, metrics", Fleet(100, 10_000, held_runs=20, has_metrics=True)),
    ("10, 1,000 idle workers, 50 timers/s", Fleet(10, 1_000, alarms_per_second=50)),
    ("100, 1,000 idle workers, 50 timers/s", Fleet(100, 1_000, alarms_per_second=50)),
)

_ROWS: Sequence[tuple[str, str, Callable[[Measured], float]]] = (
    ("CPU of workers, ms per step", ".3f", lambda one: one.worker_ms),
    ("CPU of coordinators, ms per step", ".3f", lambda one: one.coordinator_ms),
    ("CPU of Postgres, ms per step", ".3f", lambda one: one.postgres_ms),
    ("CPU of the client, ms per step", ".3f", lambda one: one.client_ms),
    ("transactions per step", ".3f", lambda one: one.transactions_per_step),
    ("WAL, bytes per step", ",.0f", lambda one: one.wal_bytes_per_step),
    ("a closed run on disk, bytes", ",.0f", lambda one: one.table_bytes_per_run),
    ("and its indexes", ",.0f", lambda one: one.index_bytes_per_run),
    ("its rows of the journal", ".1f", lambda one: one.journal_rows_per_run),
    ("connections in use", ".0f", lambda one: one.connections),
    ("idle: transactions per second", ".0f", lambda one: one.idle_transactions),
    ("idle: CPU of coordinators, ms per second", ".0f", lambda one: one.idle_coordinator_ms),
    ("idle: CPU of Postgres, ms per second", ".0f", lambda one: one.idle_postgres_ms),
)


def main() -> None:
    """Writes the page. The fleets take half a minute."""
    tables = {"needed": needed(), "measured": measured_table(), "simulated": simulated_table(FLEETS)}
    text = PAGE.read_text()
    for name, made in tables.items():
        text = replaced(text, name, made)
    PAGE.write_text(text)


def replaced(text: str, name: str, made: str) -> str:
    """The page with this table in its place."""
    before, begin, rest = text.partition(f"<!-- {name}: generated -->\n")
    _, end, after = rest.partition(f"<!-- end of {name} -->\n")
    assert begin, f"the page has no place for {name}"
    assert end, f"the place for {name} has no end"
    return before + begin + made + end + after


def needed() -> str:
    """What the command prints."""
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(table_of(EXAMPLE, plan(EXAMPLE)))
    assert isinstance(console.file, io.StringIO)
    lines = (line.rstrip() for line in console.file.getvalue().splitlines())
    return "```text\n" + "\n".join(lines) + "\n```\n"


def measured_table() -> str:
    """What was measured with payloads of the usual size, a column for each shape."""
    found = [one for one in measured() if one.payload_bytes == PAYLOAD_BYTES]
    heads = [f"{one.coordinators} x {one.cells}" for one in found]
    rows = [(what, *(format(value(one), form) for one in found)) for what, form, value in _ROWS]
    return _table(("coordinators x cells", *heads), rows)


def simulated_table(fleets: Iterable[tuple[str, Fleet]]) -> str:
    """What fleets do per second."""
    found = [(name, fleet, simulate(fleet, seconds=SECONDS, settle_seconds=SETTLE_SECONDS)) for name, fleet in fleets]
    heads = (
        "coordinators", "commits", "other transactions", "rows read", "notices said", "each takes in, kB",
        "calls to each", "handed off at once", "claims for a run", "start to lease p99, ms",
    )  # fmt: skip
    return _table(heads, [(name, *_line(fleet, traffic)) for name, fleet, traffic in found])


def _line(fleet: Fleet, found: Traffic) -> list[str]:
    commits = found.transactions.get("commits", 0.0)
    has_load = fleet.starts_per_second > 0
    return [
        f"{commits:,.0f}",
        f"{found.all_transactions - commits:,.0f}",
        f"{found.all_rows:,.0f}",
        f"{found.notices:,.0f}",
        f"{found.notice_bytes_taken / fleet.coordinators / 1e3:,.1f}",
        f"{sum(found.messages.values()) / fleet.coordinators:,.0f}",
        f"{found.handed_off_share:.0%}" if has_load else "",
        f"{found.claims_per_claimed_run:,.1f}" if has_load and found.claims else "",
        f"{found.lease_wait_p99_seconds * 1e3:,.0f}" if has_load else "",
    ]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *("---:" for _ in heads[1:])]
    return "".join(f"| {' | '.join(row)} |\n" for row in (heads, rule, *rows))


if __name__ == "__main__":
    main()
