"""What grows is told from what goes up and down: lines through measurements, and their bounds."""

import os

import pytest

from tests.chaos.endurance.footprints import Footprint, TableSize
from tests.chaos.endurance.growth import growth, table
from tests.chaos.endurance.harness import POSTGRES, Samples, growths
from tests.chaos.own import forget_others

HOUR = [(float(minute * 60), minute) for minute in range(61)]
SAMPLES = 61


def test_a_steady_rise_has_the_slope_of_an_hour() -> None:
    found = growth("memory", "MB", [(at, 100 + minute / 6) for at, minute in HOUR], 16.0)
    assert (round(found.first), round(found.last), round(found.per_hour), round(found.grown)) == (100, 110, 10, 10)
    assert found.is_flat


def test_what_rises_by_more_than_its_bound_grows_and_the_table_says_so() -> None:
    found = growth("memory", "MB", [(at, 100 + minute / 3) for at, minute in HOUR], 16.0)
    assert not found.is_flat
    assert table([found]).endswith("GROWS")


def test_what_goes_up_and_down_does_not_grow() -> None:
    dead_rows = [(at, 10_000 * (minute % 5)) for at, minute in HOUR]
    assert growth("dead rows", "", dead_rows, 2_000.0).is_flat


def test_a_share_of_the_beginning_is_allowed_beside_the_bound() -> None:
    slower = [(at, 10 + minute / 10) for at, minute in HOUR]
    assert not growth("latency", "ms", slower, 2.0).is_flat
    assert growth("latency", "ms", slower, 2.0, share_max=0.5).is_flat


def test_what_may_grow_is_never_said_to() -> None:
    found = growth("journal", "MB", [(at, 100 * minute) for at, minute in HOUR], None)
    assert found.is_flat
    assert "may grow" in table([found])


def samples(**rising: int) -> Samples:
    """An hour in which nothing grows but what is named: by so much in each minute."""
    seen = Samples()
    for minute in range(SAMPLES):
        seen.at.append(minute * 60.0)
        seen.runs.append(minute * 1_000)
        seen.connections.append(30 + rising.get("connections", 0) * minute)
        for name in ("worker 0", POSTGRES):
            one = Footprint(
                memory=10**8 + rising.get("memory", 0) * minute, descriptors=40 + rising.get("descriptors", 0) * minute,
                threads=9 + (rising.get("threads", 0) if name != POSTGRES else rising.get("processes", 0)) * minute,
                cpu_seconds=float(minute + rising.get("cpu", 0) * minute**2),
            )  # fmt: skip
            seen.processes.setdefault(name, []).append(one)
        for name in ("runs", "open_runs"):
            size = TableSize(
                size=10**6 + rising.get(name, 0) * minute, live=100 + rising.get("live", 0) * minute,
                dead=rising.get("dead", 0) * minute,
            )  # fmt: skip
            seen.tables.setdefault(f"holdfast_c00.{name}", []).append(size)
    return seen


@pytest.mark.parametrize(
    ("rising", "named"),
    [
        ({}, set()),
        ({"memory": 10**6}, {"worker 0: memory", "postgres: memory of a process"}),
        ({"descriptors": 1}, {"worker 0: descriptors"}),
        ({"descriptors": 20}, {"worker 0: descriptors", "postgres: descriptors"}),
        ({"threads": 1}, {"worker 0: threads"}),
        ({"processes": 1}, {"postgres: processes"}),
        ({"cpu": 1}, {"CPU per run, all processes"}),
        ({"connections": 1}, {"connections to Postgres"}),
        ({"runs": 10**8}, set()),
        ({"open_runs": 10**6}, {"open_runs"}),
        ({"live": 100}, {"open_runs: live rows"}),
        ({"dead": 10_000}, {"open_runs: dead rows", "runs: dead rows"}),
    ],
    ids=lambda value: ", ".join(sorted(value)) or "nothing",
)
def test_what_grows_in_an_hour_is_named(rising: dict[str, int], named: set[str]) -> None:
    probes = [(minute * 60.0, 0.010) for minute in range(SAMPLES)]
    found = growths(samples(**rising), probes, since=540.0)
    assert {one.what for one in found if not one.is_flat} == named


def test_a_probe_that_takes_longer_and_longer_is_named() -> None:
    probes = [(minute * 60.0, 0.010 + minute / 1_000) for minute in range(SAMPLES)]
    found = growths(samples(), probes, since=540.0)
    assert [one.what for one in found if not one.is_flat] == ["latency of a probe"]


def test_a_run_looks_for_no_database_and_no_coordinator_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "HOLDFAST_DATABASE_URL", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        monkeypatch.setenv(name, "somebody else's")
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    forget_others()
    assert [name for name in os.environ if name.startswith(("PG", "HOLDFAST_", "OTEL_"))] == []
    assert "PYTHONPATH" in os.environ
