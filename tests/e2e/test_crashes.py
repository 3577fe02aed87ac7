"""Workers that are killed in the middle: what was recorded stays, the rest runs again by itself.

One worker is killed once for all tests of this module; each looks at its own run.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from holdfast import RunFailed
from holdfast.client import Client, RunHandle
from holdfast.statuses import AttemptOutcome
from tests.support import flows_crash as flows
from tests.support.ledger import Ledger
from tests.support.processes import worker_process
from tests.support.watching import kinds, until

from .conftest import Coordinator

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODULE = "tests.support.flows_crash"
TTL_SECONDS = 2.0
STARTS = {
    "three_steps": (flows.three_steps, "save old"),
    "loop_of_one_step": (flows.loop_of_one_step, "count 2"),
    "named_items": (flows.named_items, "treat 3"),
    "branches": (flows.branches, "branch c"),
    "started_once": (flows.started_once, "at most once"),
    "one_queued_step": (flows.one_queued_step, "queued"),
    "saved_pages": (flows.saved_pages, "half-way"),
    "saved_queued_pages": (flows.saved_queued_pages, "half-way"),
    "saved_plain_pages": (flows.saved_plain_pages, "half-way"),
}
"""The workflow, and the line that says that it is where its worker is to be killed."""


DEADLY_WORKERS = 4


@dataclass
class Crash:
    """What is left after the crash: the runs, their ledgers, what came of them, and how long that took."""

    runs: dict[str, RunHandle[Any]]
    ledgers: dict[str, Ledger]
    outcomes: dict[str, Any]
    seconds: float


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crash(coordinator: Coordinator, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Crash]:
    """Starts one run of each workflow, kills their worker with SIGKILL and lets a new version finish them.

    Beside it a run whose step kills one worker after the other.
    """
    directory: Path = tmp_path_factory.mktemp("ledgers")
    crash = Crash({}, {name: Ledger(directory / name) for name in (*STARTS, "deadly")}, {}, 0.0)
    async with Client.connect(coordinator.address) as client:
        await asyncio.gather(_kill_once(client, coordinator, crash), _kill_and_kill_again(client, coordinator, crash))
        yield crash


async def _kill_once(client: Client, coordinator: Coordinator, crash: Crash) -> None:
    ledgers = crash.ledgers
    async with worker_process(coordinator.address, MODULE, queue="crash") as first:
        runs = {
            name: await client.start(workflow.with_options(queue="crash"), ledgers[name].path)
            for name, (workflow, _) in STARTS.items()
        }
        await asyncio.gather(*(ledgers[name].wait_for(line) for name, (_, line) in STARTS.items()))
        await until(lambda: kinds(runs["branches"]), lambda seen: "StepCompleted" in seen)
        second = worker_process(coordinator.address, MODULE, queue="crash", environment={"FLOWS_VERSION": "2"})
        async with second:
            await second.wait_for_line("ready")
            await first.kill()
            killed_at = time.monotonic()
            outcomes = await asyncio.gather(*(run.result(timeout=20) for run in runs.values()), return_exceptions=True)
            crash.seconds = time.monotonic() - killed_at
    crash.runs |= runs
    crash.outcomes |= zip(runs, outcomes, strict=True)


async def _kill_and_kill_again(client: Client, coordinator: Coordinator, crash: Crash) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(DEADLY_WORKERS):
            worker = worker_process(coordinator.address, MODULE, queue="deadly")
            await stack.enter_async_context(worker)
        await worker.wait_for_line("ready")
        start = flows.kills_its_workers.with_options(queue="deadly")
        crash.runs["deadly"] = run = await client.start(start, crash.ledgers["deadly"].path)
        (crash.outcomes["deadly"],) = await asyncio.gather(run.result(timeout=40), return_exceptions=True)


async def _attempts(run: RunHandle[Any]) -> list[tuple[str, AttemptOutcome]]:
    """How the attempts of the steps of a run ended, in journal order."""
    return [
        (entry.type, entry.entry.attempt.outcome)
        for entry in await run.history()
        if getattr(entry.entry, "attempt", None) is not None and not isinstance(entry.entry.attempt, int)
    ]


@pytest.mark.feature("F34")
async def test_finished_steps_are_not_executed_again_after_a_crash(crash: Crash) -> None:
    assert crash.ledgers["three_steps"].counts == {"fetch": 1, "process 0": 1, "save old": 2}


@pytest.mark.feature("F35")
async def test_runs_of_a_killed_worker_go_on_by_themselves_soon(crash: Crash) -> None:
    assert crash.seconds < TTL_SECONDS + 10


async def test_an_attempt_of_a_killed_worker_is_recorded_as_lost(crash: Crash) -> None:
    attempts = await _attempts(crash.runs["three_steps"])
    assert attempts[-2:] == [("AttemptEnded", AttemptOutcome.LOST), ("StepCompleted", AttemptOutcome.COMPLETED)]


@pytest.mark.feature("F37")
async def test_calls_of_one_step_in_a_loop_keep_their_results(crash: Crash) -> None:
    assert crash.outcomes["loop_of_one_step"] == [0, 1, 2]
    assert crash.ledgers["loop_of_one_step"].counts == {"count 0": 1, "count 1": 1, "count 2": 2}


@pytest.mark.feature("F38")
async def test_step_ids_find_their_results_when_the_order_of_calls_has_changed(crash: Crash) -> None:
    assert crash.outcomes["named_items"] == {"0": 0, "1": 10, "2": 20, "3": 30, "4": 40}
    assert crash.ledgers["named_items"].counts == {
        "treat 0": 1, "treat 1": 1, "treat 2": 1, "treat 3": 2, "treat 4": 1,
    }  # fmt: skip


@pytest.mark.feature("F41")
async def test_a_parallel_step_that_finished_before_the_crash_is_not_repeated(crash: Crash) -> None:
    assert crash.outcomes["branches"] == ["a", "b", "c"]
    assert crash.ledgers["branches"].counts == {"branch a": 1, "branch b": 2, "branch c": 2}


@pytest.mark.feature("F42")
async def test_a_result_of_zero_is_kept_over_a_crash(crash: Crash) -> None:
    assert "process 0" in crash.ledgers["three_steps"].lines


@pytest.mark.feature("F44")
async def test_the_stored_result_of_a_finished_step_stays_when_its_code_changes(crash: Crash) -> None:
    assert crash.outcomes["three_steps"] == "saved old"


async def test_a_step_that_may_be_started_once_is_not_started_again_after_a_crash(crash: Crash) -> None:
    assert crash.ledgers["started_once"].lines == ["at most once"]
    assert "max recovery attempts (0)" in str(crash.outcomes["started_once"])


async def test_a_queued_step_of_a_killed_worker_runs_again(crash: Crash) -> None:
    assert crash.ledgers["one_queued_step"].lines == ["queued", "queued"]
    assert isinstance(crash.outcomes["one_queued_step"], int)


@pytest.mark.feature("F97")
@pytest.mark.parametrize("name", ["saved_pages", "saved_queued_pages", "saved_plain_pages"])
async def test_a_step_whose_worker_is_killed_goes_on_where_it_has_saved(crash: Crash, name: str) -> None:
    assert crash.outcomes[name] == flows.HELD_AT
    pages = [line for line in crash.ledgers[name].lines if line != "half-way"]
    assert pages == [f"page {page}" for page in range(flows.PAGES)], "no page was read again"


@pytest.mark.feature("F49")
async def test_a_step_that_kills_its_workers_fails_after_its_recoveries(crash: Crash) -> None:
    assert isinstance(crash.outcomes["deadly"], RunFailed)
    assert "max recovery attempts" in str(crash.outcomes["deadly"])
    assert crash.ledgers["deadly"].lines == ["deadly"] * 3
    assert [outcome for _, outcome in await _attempts(crash.runs["deadly"])] == [AttemptOutcome.LOST] * 3
