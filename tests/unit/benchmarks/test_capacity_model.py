"""What a load needs, and that the model says what was measured."""

import inspect
import io
import math
from itertools import pairwise

import pytest
from rich.console import Console

from benchmarks.capacity import page
from benchmarks.capacity.command import table_of
from benchmarks.capacity.fitted import FITTED
from benchmarks.capacity.fleet import Fleet
from benchmarks.capacity.measured import Measured, measured
from benchmarks.capacity.model import (
    CELL_CONNECTIONS,
    CONTROL_CONNECTIONS,
    DOORBELL_CONNECTIONS,
    READER_CONNECTIONS,
    Wanted,
    closed_run_bytes,
    commands_per_commit,
    idle_transactions,
    look_cost,
    plan,
    step_cost,
    wal_bytes_per_step,
)
from benchmarks.capacity.simulation import simulate
from holdfast_coordinator.store.cell import PostgresCellStore
from holdfast_coordinator.store.control import PostgresControlStore

MEASURED = measured()
USUAL = [one for one in MEASURED if one.payload_bytes == page.PAYLOAD_BYTES]


def name_of(one: Measured) -> str:
    return f"{one.coordinators}x{one.cells}, {one.payload_bytes} bytes"


def test_one_two_and_four_coordinators_were_measured_with_one_four_and_sixteen_cells() -> None:
    assert {(one.coordinators, one.cells) for one in USUAL} == {(c, n) for c in (1, 2, 4) for n in (1, 4, 16)}
    assert len({one.payload_bytes for one in MEASURED}) > 1


@pytest.mark.parametrize("one", USUAL, ids=name_of)
def test_what_a_step_costs_is_what_was_measured(one: Measured) -> None:
    """Within 40 %: the cores were shared, and one that waits for memory of another takes longer for the same."""
    cost = step_cost(one.transactions_per_step)
    assert cost.coordinator_ms == pytest.approx(one.coordinator_ms, rel=0.4)
    assert cost.postgres_ms == pytest.approx(one.postgres_ms, rel=0.4)
    assert FITTED.worker_step_ms == pytest.approx(one.worker_ms, rel=0.25)


@pytest.mark.parametrize("one", USUAL, ids=name_of)
def test_what_loops_cost_is_what_was_measured(one: Measured) -> None:
    assert idle_transactions(one.coordinators, one.cells) == pytest.approx(one.idle_transactions, rel=0.25)
    looks = look_cost(one.coordinators, one.cells)
    assert looks.coordinator_ms == pytest.approx(one.idle_coordinator_ms, rel=0.4)
    assert looks.postgres_ms == pytest.approx(one.idle_postgres_ms, rel=0.45)


@pytest.mark.parametrize("one", USUAL, ids=name_of)
def test_a_simulated_idle_fleet_asks_the_database_as_often_as_a_measured_one(one: Measured) -> None:
    found = simulate(Fleet(one.coordinators, 40, cells=one.cells), seconds=30)
    assert found.all_transactions == pytest.approx(one.idle_transactions, rel=0.25)


@pytest.mark.parametrize("one", MEASURED, ids=name_of)
def test_wal_and_disk_are_what_was_measured(one: Measured) -> None:
    assert wal_bytes_per_step(one.payload_bytes) == pytest.approx(one.wal_bytes_per_step, rel=0.15)
    on_disk = one.table_bytes_per_run + one.index_bytes_per_run
    assert closed_run_bytes(10, one.payload_bytes) == pytest.approx(on_disk, rel=0.2)


@pytest.mark.parametrize("one", MEASURED, ids=name_of)
def test_no_more_connections_were_open_than_the_model_says(one: Measured) -> None:
    each = CONTROL_CONNECTIONS + DOORBELL_CONNECTIONS + one.cells * CELL_CONNECTIONS
    assert one.connections <= one.coordinators * each


def test_the_connections_of_the_model_are_those_of_the_stores() -> None:
    parameters = inspect.signature(PostgresCellStore.__init__).parameters
    assert parameters["readers"].default == READER_CONNECTIONS
    pools = [pool for pool in vars(PostgresControlStore("host=nowhere")).values() if hasattr(pool, "_size")]
    assert sum(pool._size for pool in pools) == CONTROL_CONNECTIONS
    cell = PostgresCellStore("host=nowhere", "00")
    assert sum(pool._size for pool in cell._pools) + 1 == CELL_CONNECTIONS
    assert CELL_CONNECTIONS + CONTROL_CONNECTIONS + DOORBELL_CONNECTIONS == 20, "docs/configuration.md says so"


def test_what_comes_while_a_commit_is_under_way_shares_the_next() -> None:
    assert commands_per_commit(100, 1, commit_ms=2, command_ms=0.03) == 1.0
    busy = commands_per_commit(10_000, 1, commit_ms=2, command_ms=0.03)
    # As many come as are committed: 28.6 of them take 2 ms and 0.03 ms each.
    assert busy == pytest.approx(10 * (2 + busy * 0.03))
    assert commands_per_commit(10_000, 4, commit_ms=2, command_ms=0.03) < busy / 4
    assert math.isinf(commands_per_commit(40_000, 1, commit_ms=2, command_ms=0.03))


def test_no_coordinator_is_busier_than_wanted_also_when_one_is_lost() -> None:
    for rate in (10, 1_000, 5_000, 20_000, 50_000, 100_000):
        found = plan(Wanted(rate))
        assert found.coordinators >= 2
        left = found.coordinators - 1
        assert found.coordinator_busy_share * found.coordinators / left <= 0.6 * 1.02, rate


def test_more_steps_take_no_less_of_anything() -> None:
    plans = [plan(Wanted(rate)) for rate in (100, 1_000, 10_000, 100_000)]
    for less, more in pairwise(plans):
        for name in ("workers", "coordinators", "worker_cores", "postgres_cores", "wal_bytes", "disk_bytes"):
            assert getattr(less, name) <= getattr(more, name), name


def test_more_cells_in_one_server_cost_transactions_connections_and_cpu_and_are_no_option_yet() -> None:
    one, many = plan(Wanted(20_000)), plan(Wanted(20_000, cells=16))
    assert many.transactions > 2 * one.transactions
    assert many.connections > 8 * one.connections
    assert many.postgres_cores > one.postgres_cores
    assert not one.limits
    assert any("more than one cell" in limit for limit in many.limits)


def test_steps_that_take_long_need_slots_and_steps_that_compute_need_cores() -> None:
    usual = plan(Wanted(1_000))
    assert plan(Wanted(1_000, step_seconds=6.0)).workers == 100
    assert plan(Wanted(1_000, step_cpu_ms=10)).worker_cores > usual.worker_cores + 16
    assert plan(Wanted(1_000, workers=500)).heartbeats == 200


def test_what_one_server_cannot_do_is_said() -> None:
    assert any("2 Postgres servers" in limit for limit in plan(Wanted(200_000)).limits)
    with pytest.raises(ValueError, match="too many"):
        plan(Wanted(1e9))
    with pytest.raises(ValueError, match="no load"):
        plan(Wanted(0))


def test_a_plan_is_printed_with_every_figure() -> None:
    console = Console(file=io.StringIO(), width=100)
    console.print(table_of(Wanted(20_000), plan(Wanted(20_000))))
    assert isinstance(console.file, io.StringIO)
    for text in ("20,000 steps/s", "coordinators, one to spare", "connections to Postgres", "MB", "TB"):
        assert text in console.file.getvalue()


def test_the_capacity_page_has_what_the_model_says_and_what_was_measured() -> None:
    text = page.PAGE.read_text()
    for name, made in (("needed", page.needed()), ("measured", page.measured_table())):
        assert page.replaced(text, name, made) == text, "python -m benchmarks.capacity.page writes it anew"
    for name, _ in page.FLEETS:
        assert f"| {name} |" in text
