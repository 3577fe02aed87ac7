"""Clients that wait for runs to close."""

import asyncio

import pytest

from holdfast.errors import RunNotFound
from holdfast.statuses import RunStatus
from holdfast_coordinator.domain.commands import TerminateRun
from holdfast_coordinator.domain.rows import RunResult
from holdfast_coordinator.engine.waiters import Waiters
from tests.support.engine_replicas import replica, run_named, start
from tests.support.store_rows import T0


def result(run_id: str, namespace: str = "default") -> RunResult:
    """A closed run."""
    return RunResult(run_id, namespace, RunStatus.COMPLETED, T0)


def test_a_run_that_closes_wakes_who_waits_for_it() -> None:
    waiters = Waiters()
    waiter, other = waiters.register("default", ["r1", "r2"]), waiters.register("default", ["r3"])
    waiters.has_closed(result("r1"))
    assert waiter.news.is_set()
    assert list(waiter.closed) == ["r1"]
    assert not other.news.is_set()
    assert waiters.waited_for() == ["r2", "r3"]


def test_a_run_that_has_just_closed_is_known_without_asking() -> None:
    waiters = Waiters()
    waiters.has_closed(result("r1"))
    waiter = waiters.register("default", ["r1"])
    assert waiter.news.is_set()
    assert waiters.unknown("default", ["r1"]) == []


def test_runs_of_another_namespace_wake_nobody() -> None:
    waiters = Waiters()
    waiters.is_open("other", "r1")
    waiter = waiters.register("default", ["r1"])
    assert waiters.unknown("default", ["r1"]) == ["r1"]
    waiters.has_closed(result("r1", "other"))
    assert not waiter.news.is_set()
    assert not waiters.register("default", ["r1"]).closed


def test_a_start_that_is_heard_of_after_its_run_has_closed_does_not_open_it_again() -> None:
    waiters = Waiters()
    waiters.has_closed(result("r1"))
    waiters.is_open("default", "r1")
    assert waiters.unknown("default", ["r1"]) == []
    assert "r1" not in waiters._known_open


def test_nothing_is_left_of_a_wait_that_was_given_up() -> None:
    waiters = Waiters()
    first, second = waiters.register("default", ["r1", "r2"]), waiters.register("default", ["r2"])
    waiters.unregister(first, ["r1", "r2"])
    assert waiters.waited_for() == ["r2"]
    waiters.has_closed(result("r2"))
    waiters.unregister(second, ["r2"])
    assert (waiters.waited_for(), list(first.closed)) == ([], [])


async def test_a_run_that_is_asked_for_twice_is_answered_once() -> None:
    async with replica() as engine:
        await engine.start_runs([start(1)])
        waiting = asyncio.create_task(engine.wait_for("default", [run_named(1)] * 2, 5.0))
        await asyncio.sleep(0)
        await engine.steer(run_named(1), TerminateRun(run_named(1), "", "enough"))
        assert [one.run_id for one in await waiting] == [run_named(1)]
        assert engine.waiters.waited_for() == []


async def test_a_replica_that_stops_keeps_nobody_waiting() -> None:
    async with replica() as engine:
        await engine.start_runs([start(1)])
        waiting = asyncio.create_task(engine.wait_for("default", [run_named(1)], 60.0))
        await asyncio.sleep(0)
        engine.end_waits()
        async with asyncio.timeout(5):
            assert await waiting == []


async def test_a_wait_for_a_run_that_does_not_exist_is_refused_and_forgotten() -> None:
    async with replica() as engine:
        for unknown in (run_named(1), "run_zz" + run_named(1)[6:], "nonsense"):
            with pytest.raises(RunNotFound):
                await engine.wait_for("default", [unknown], 5.0)
        assert engine.waiters.waited_for() == []
