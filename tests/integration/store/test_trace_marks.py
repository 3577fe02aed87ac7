"""What every cell store does with trace marks: the same suite on Postgres and on the model."""

from dataclasses import replace
from datetime import datetime
from typing import Any, cast

import pytest

from holdfast.statuses import RunStatus
from holdfast_coordinator.domain.asks import CloseAsk
from holdfast_coordinator.domain.changes import Changes
from holdfast_coordinator.domain.closes import trace_mark
from holdfast_coordinator.domain.events import Closed
from holdfast_coordinator.domain.rows import OpenRun, RunResult, RunState, Side, TraceMark
from holdfast_coordinator.store.port import CellStore
from tests.support.store_rows import T0, appending, at, closing, open_run, starting, write


def ended(run: OpenRun, status: RunStatus) -> Changes:
    """A close on the locking path, as the core makes it."""
    mark = trace_mark(run, status, at(1))
    return Changes(
        closed={run.run_id: RunResult(run.run_id, "default", status, at(1))},
        swept={run.run_id: run.side},
        traces_closed=[mark] if mark is not None else [],
    )


@pytest.mark.parametrize("is_plain", [True, False], ids=["by compare-and-set", "in a transaction"])
@pytest.mark.parametrize(
    ("side", "status", "relay_at"),
    [
        (Side.TRACE, RunStatus.COMPLETED, at(31)),
        (Side.TRACE, RunStatus.FAILED, at(31)),
        (Side.TRACE_FAILURE, RunStatus.COMPLETED, None),
        (Side.TRACE_FAILURE, RunStatus.CANCELLED, None),
        (Side.TRACE_FAILURE, RunStatus.FAILED, at(1)),
        (Side.TRACE_FAILURE, RunStatus.TIMED_OUT, at(1)),
        (Side.TRACE_FAILURE, RunStatus.TERMINATED, at(1)),
        (Side.NONE, RunStatus.FAILED, None),
    ],
)
async def test_a_run_that_closes_leaves_a_mark_when_its_spans_are_to_be_exported(
    store: CellStore, side: Side, status: RunStatus, relay_at: datetime | None, is_plain: bool
) -> None:
    run = open_run("r1", side=side)
    await write(store, starting(run))
    if is_plain:
        asked = closing("r1")
        asked.asks = [replace(cast(CloseAsk, asked.asks[0]), status=status)]
        closed = (await store.move([asked], at=at(1)))["r1"]
        assert isinstance(closed, Closed)
        assert closed.is_traced is (Side.TRACE in side)
    else:
        await write(store, ended(run, status))
    marks = await store.claim_marks(at(1_000), at(2_000), 10)
    assert marks == ([TraceMark("r1", 0, at(1), at(2_000))] if relay_at is not None else [])
    if relay_at is not None:
        assert await store.delete_marks(["r1"]) == 1


async def test_appends_say_which_runs_are_traced(store: CellStore) -> None:
    await write(store, starting(open_run("r1", side=Side.TRACE | Side.ALARMS), open_run("r2", side=Side.TRACE_FAILURE)))
    done = await store.move([appending("r1"), appending("r2")], at=T0)
    assert {run_id: one.is_traced for run_id, one in done.items()} == {"r1": True, "r2": False}


async def test_a_traced_run_with_rows_elsewhere_is_not_closed_by_compare_and_set(store: CellStore) -> None:
    await write(store, starting(open_run("r1", side=Side.TRACE | Side.ALARMS)))
    assert await store.move([closing("r1")], at=T0) == {}
    assert await store.marks_waiting(at(1_000), 10) == 0


async def test_a_mark_never_goes_back_and_its_close_keeps_it(store: CellStore) -> None:
    await write(store, starting(open_run("r1", side=Side.TRACE), open_run("r2", side=Side.TRACE)))
    await store.mark_exported({"r2": 4, "r1": 5})
    await store.mark_exported({"r1": 3, "r2": 7})
    assert (await store.exported_seq("r1"), await store.exported_seq("r2")) == (5, 7)
    assert await store.marks_waiting(at(10_000), 10) == 0, "open runs are no business of the relay"
    await write(store, ended(open_run("r1", side=Side.TRACE), RunStatus.COMPLETED))
    await store.move([closing("r2")], at=T0)
    marks = await store.claim_marks(at(100), at(200), 10)
    assert {mark.run_id: mark.exported_seq for mark in marks} == {"r1": 5, "r2": 7}


async def test_a_run_that_is_not_open_gets_no_mark(store: CellStore) -> None:
    await write(store, starting(open_run("r1")))
    await store.mark_exported({"r1": 1, "r9": 4})
    assert (await store.exported_seq("r1"), await store.exported_seq("r9")) == (1, 0)


async def test_a_mark_is_claimed_when_its_time_has_come_the_oldest_first_and_by_one_relay(store: CellStore) -> None:
    for seconds, run_id in ((30, "r3"), (10, "r1"), (20, "r2"), (500, "r4")):
        await write(store, starting(open_run(run_id, side=Side.TRACE)))
        await store.move([closing(run_id)], at=at(seconds))
    assert await store.marks_waiting(at(100), 10) == 3
    assert await store.marks_waiting(at(100), 2) == 2
    first = await store.claim_marks(at(100), at(200), 2)
    assert {mark.run_id for mark in first} == {"r1", "r2"}
    assert [mark.run_id for mark in await store.claim_marks(at(100), at(200), 2)] == ["r3"]
    assert await store.claim_marks(at(199), at(300), 10) == []
    again = await store.claim_marks(at(200), at(300), 10)
    assert {mark.run_id for mark in again} == {"r1", "r2", "r3"}, "a claim ends"
    assert await store.delete_marks(["r1", "r2", "r9"]) == 2
    assert await store.marks_waiting(at(10_000), 10) == 2


async def test_open_traces_are_the_sampled_runs_that_are_idle_and_behind(store: CellStore) -> None:
    suspended: dict[str, Any] = {"state": RunState.SUSPENDED, "owner": None, "side": Side.TRACE, "length": 3}
    await write(
        store,
        starting(
            open_run("r1", **suspended),
            open_run("r2", **{**suspended, "side": Side.TRACE_FAILURE}),
            open_run("r3", **{**suspended, "state": RunState.LEASED, "owner": "s1"}),
            open_run("r4", **{**suspended, "last_at": at(60)}),
            open_run("r5", **suspended),
            open_run("r6", **suspended),
        ),
    )
    await store.mark_exported({"r5": 3, "r6": 2})
    assert await store.open_traces("", at(60), 10) == ({"r1": 0, "r6": 2}, None)
    assert await store.open_traces("", at(61), 4) == ({"r1": 0, "r4": 0}, "r4")
    assert await store.open_traces("r4", at(61), 4) == ({"r6": 2}, None)
    assert await store.open_traces("r6", at(61), 4) == ({}, None)
