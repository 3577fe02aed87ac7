"""A simulated fleet is the same on any machine, has the loops of a real one, and shows what grows with what."""

import os
import subprocess
import sys
from dataclasses import replace

from benchmarks.capacity.fleet import Fleet, Traffic
from benchmarks.capacity.simulation import simulate
from benchmarks.processes import ROOT
from holdfast_coordinator.loops.doorbell import GATHER_SECONDS
from holdfast_coordinator.loops.upkeep import all_loops
from tests.support.engine_replicas import FailingCell, replica

OPTIONS = {
    "coordinators": 4, "workers": 40, "cells": 2, "queues": 10, "starts_per_second": 60, "held_runs": 2,
    "alarms_per_second": 5, "has_metrics": True,
}  # fmt: skip
SMALL = Fleet(**OPTIONS)  # type: ignore[arg-type]
NOT_IN_EVERY_SECOND = ("clock",)
"""Loops that ask the database nothing as long as no clock steps."""

PRINT = f"""
import sys
from benchmarks.capacity.fleet import Fleet
from benchmarks.capacity.simulation import simulate
sys.stdout.write(repr(simulate(Fleet(**{OPTIONS!r}), seconds=5, settle_seconds=3, seed=7)))
"""


def found_with_hash_seed(seed: int) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run([sys.executable, "-c", PRINT], check=True, capture_output=True, text=True, env=environment)
    return done.stdout


def test_a_simulation_is_the_same_whatever_the_order_of_sets() -> None:
    found = found_with_hash_seed(1)
    assert found.startswith("Traffic(")
    assert found_with_hash_seed(2) == found


def test_another_seed_draws_another_load() -> None:
    assert simulate(SMALL, seconds=2, settle_seconds=1, seed=1) != simulate(SMALL, seconds=2, settle_seconds=1, seed=2)


async def test_a_simulated_coordinator_has_the_loops_of_a_real_one_in_their_periods() -> None:
    async def ready(_: bool) -> None:
        pass

    async with replica(FailingCell()) as engine:
        loops = dict(all_loops(engine, on_ready=ready))
        fleet = Fleet(policy=engine.sessions.policy)
        turns = fleet.turns()
        for name, loop in loops.items():
            kind = name.removesuffix(" 00")
            assert kind in turns or kind in NOT_IN_EVERY_SECOND, f"the loop {name} is not simulated"
            assert loop.cr_frame is not None
            if "every_seconds" in loop.cr_frame.f_locals and kind in turns:
                assert turns[kind] == loop.cr_frame.f_locals["every_seconds"], name
            loop.close()
        assert turns.keys() <= {name.removesuffix(" 00") for name in loops}


def test_all_runs_of_a_fleet_that_keeps_up_are_leased_at_once_and_close() -> None:
    found = simulate(SMALL, seconds=12, settle_seconds=4)
    assert abs(found.closed - SMALL.starts_per_second) < 0.15 * SMALL.starts_per_second
    assert found.lease_wait_p99_seconds < 1.0
    assert found.messages["report"] > found.closed * SMALL.steps_per_run


def test_without_the_doorbell_runs_are_found_by_looking_within_a_second_or_two() -> None:
    found = simulate(replace(SMALL, has_doorbell=False), seconds=12, settle_seconds=4)
    assert found.notices == 0
    assert abs(found.closed - SMALL.starts_per_second) < 0.15 * SMALL.starts_per_second
    assert 0.3 < found.lease_wait_p99_seconds < 2.0


def test_heartbeats_are_as_many_as_workers_and_statements_as_coordinators() -> None:
    few, many = simulate(Fleet(2, 50), seconds=20), simulate(Fleet(8, 50), seconds=20)
    assert few.messages["heartbeat"] == many.messages["heartbeat"] == 50 / 2.5
    assert 3.5 < many.all_transactions / few.all_transactions < 4.2


def test_a_few_of_many_coordinators_wake_for_a_timer() -> None:
    def for_each_timer(coordinators: int) -> float:
        found = simulate(Fleet(coordinators, 20, alarms_per_second=20), seconds=20, settle_seconds=3)
        looks = coordinators  # once a second, whatever is due
        return (found.transactions["commits"] + found.transactions["alarms"] - looks) / 20

    assert for_each_timer(3) < 2 * 3 + 1
    assert for_each_timer(30) < 2 * 3 + 3


def test_one_coordinator_sweeps_for_all_that_know_each_other() -> None:
    def owners_read(fleet: Fleet) -> float:
        return simulate(fleet, seconds=100).rows["sweep"]

    fleet = Fleet(8, 50, held_runs=1)
    assert owners_read(replace(fleet, has_doorbell=False)) > 6 * owners_read(fleet)


def test_notices_of_many_busy_coordinators_do_not_grow_with_their_square() -> None:
    def notices_taken(coordinators: int, **changed: object) -> Traffic:
        fleet = Fleet(coordinators, 32, starts_per_second=400, steps_per_run=1, step_seconds=0.01, **changed)  # type: ignore[arg-type]
        return simulate(fleet, seconds=2, settle_seconds=2)

    each_pauses_alike = notices_taken(16, gather=lambda _: GATHER_SECONDS)
    pauses_grow = notices_taken(16)
    assert pauses_grow.notices_taken < each_pauses_alike.notices_taken / 2
    assert pauses_grow.keys_taken > each_pauses_alike.keys_taken * 0.9, "the same is said, in fewer notices"
