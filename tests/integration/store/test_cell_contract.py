"""What every cell store does: the same suite on Postgres and on the model. Mail and claims have files of their own."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from holdfast.journal import Failure
from holdfast.statuses import ClosePolicy, RunStatus
from holdfast_coordinator.domain.changes import Changes
from holdfast_coordinator.domain.events import Appended, Closed
from holdfast_coordinator.domain.mail import MailKind, MailRow, SignalMail
from holdfast_coordinator.domain.rows import (
    AlarmKind,
    AlarmRow,
    ChildRow,
    DeadLetter,
    JournalRow,
    KeyRow,
    RequestRow,
    RunResult,
    RunState,
    Side,
)
from holdfast_coordinator.domain.snapshot import Reads, Snapshot
from holdfast_coordinator.domain.starts import START
from holdfast_coordinator.store.port import (
    CellStore,
    DataRejected,
    RunSelection,
    SerializationConflict,
)
from tests.support.store_rows import (
    ENTRY,
    T0,
    appending,
    at,
    closing,
    decide,
    key,
    open_run,
    read,
    ready_run,
    starting,
    task,
    write,
)


@pytest.mark.feature("F134")
async def test_a_started_run_is_read_back_as_it_was_written(store: CellStore) -> None:
    run = open_run(
        "r1", state=RunState.SUSPENDED, deadline_at=at(9), waits="signal paid", side=Side.ALARMS | Side.TASKS,
        sticky="s0",
    )  # fmt: skip
    changes = starting(run, metadata={"customer": "7"}, id="order-7", trace=b"trace", deadline_at=at(9))
    await write(store, changes)
    snapshot = await read(store, Reads(lock_runs={"r1", "unknown"}, starts=dict.fromkeys(["r1", "unknown"], "default")))
    assert snapshot.runs == {"r1": run}
    assert snapshot.existing == {"r1": ("default", b"hash", "r1")}
    view = await store.view("default", "r1")
    assert view is not None
    assert (view.record, view.open, view.result) == (changes.runs[0], run, None)
    assert await store.records(["r1", "unknown"]) == {"r1": changes.runs[0]}


async def test_a_start_that_joined_a_run_is_known_by_its_own_run_id(store: CellStore) -> None:
    changes = starting(open_run("r1"))
    changes.joins.append(KeyRow("default", START, "r2", "r1", b"hash", "order"))
    await write(store, changes)
    snapshot = await read(store, Reads(starts={"r1": "default", "r2": "default", "r3": "default"}))
    assert snapshot.existing == {"r1": ("default", b"hash", "r1"), "r2": ("default", b"hash", "r1")}
    assert (await read(store, Reads(starts={"r2": "other"}))).existing == {}


async def test_a_run_of_another_namespace_is_not_visible(store: CellStore) -> None:
    await write(store, starting(open_run("r1", namespace="other")))
    assert await store.view("default", "r1") is None
    assert await store.existing("default", ["r1"]) == set()
    assert await store.list_runs(RunSelection("default")) == []


async def test_now_is_not_before_the_last_time_of_a_locked_run(store: CellStore) -> None:
    ahead = (await read(store, Reads())).now + timedelta(seconds=1)
    await write(store, starting(open_run("r1", last_at=ahead)))
    assert (await read(store, Reads(lock_runs={"r1"}))).now >= ahead


async def test_now_is_not_that_of_a_run_from_before_a_step_back_of_the_clock(store: CellStore) -> None:
    ahead = T0 + timedelta(days=36_500)
    await write(store, starting(open_run("r1", last_at=ahead)))
    assert T0 < (await read(store, Reads(lock_runs={"r1"}))).now < ahead


@pytest.mark.feature("F134")
async def test_a_decision_that_raises_leaves_nothing(store: CellStore) -> None:
    def refuse(_: Any) -> Changes:
        raise KeyError("no")

    with pytest.raises(KeyError):
        await decide(store, Reads(keys=[key("order-7", "r1")]), refuse)
    assert await store.run_of_key("default", "id", "order-7") is None
    await write(store, starting(open_run("r1")))


async def test_a_batch_with_one_bad_row_leaves_nothing(store: CellStore) -> None:
    changes = starting(open_run("r1"))
    changes.journal.append(changes.journal[0])
    with pytest.raises(DataRejected):
        await write(store, changes)
    assert await store.view("default", "r1") is None


async def test_a_run_that_another_batch_made_meanwhile_is_a_conflict(store: CellStore) -> None:
    await write(store, starting(open_run("r1")))
    with pytest.raises(SerializationConflict):
        await write(store, starting(open_run("r1")))


@pytest.mark.parametrize(
    "changes",
    [
        Changes(updated={"r9": open_run("r9")}),
        Changes(closed={"r9": RunResult("r9", "default", RunStatus.COMPLETED, T0)}),
        Changes(mail_taken=[("r9", 1)]),
        Changes(alarms_cleared={("r9", AlarmKind.TIMER, 1)}),
        Changes(tasks_updated={("r9", 1): task("r9", 1)}),
        Changes(tasks_deleted={("r9", 1)}),
        Changes(children_closed={("r9", 1)}),
        Changes(keys=[key("order-9", "r9")]),
    ],
    ids=lambda changes: next(name for name in Changes.__slots__ if getattr(changes, name)),
)
async def test_a_write_that_misses_its_row_rolls_its_batch_back(store: CellStore, changes: Changes) -> None:
    with pytest.raises(DataRejected):
        await write(store, replace(starting(open_run("r1")), **_filled(changes)))
    assert await store.view("default", "r1") is None


def _filled(changes: Changes) -> dict[str, Any]:
    return {name: rows for name in Changes.__slots__ if (rows := getattr(changes, name))}


async def test_closing_a_run_sweeps_what_is_its_own_and_keeps_its_promises_to_others(store: CellStore) -> None:
    side = Side.ALARMS | Side.TASKS | Side.CHILDREN
    changes = starting(open_run("r1", mail_next=2, side=side))
    changes.mail_added.append(MailRow("r1", 1, MailKind.SIGNAL, T0, SignalMail("s", b"")))
    outbox = AlarmRow("r1", AlarmKind.OUTBOX_CHILD, 1, T0, b"child")
    for alarm in (AlarmRow("r1", AlarmKind.TIMER, 1, at(5)), outbox):
        changes.alarms_set["r1", alarm.kind, alarm.ref] = alarm
    changes.tasks_added["r1", 1] = task("r1", 1)
    changes.children_added.append(ChildRow("r1", 1, "c1", ClosePolicy.CANCEL))
    await write(store, changes)
    result = RunResult("r1", "default", RunStatus.FAILED, at(9), failure=Failure("ValueError", "no"))
    later = MailRow("r1", 2, MailKind.SIGNAL, T0, SignalMail("s", b""))
    closed = Changes(
        closed={"r1": result}, swept={"r1": side}, mail_added=[later], mail_taken=[("r1", 1)],
        tasks_deleted={("r1", 1)}, children_closed={("r1", 1)},
    )  # fmt: skip
    delivery = AlarmRow("r1", AlarmKind.OUTBOX_CHILD_CLOSED, 0, at(9))
    closed.alarms_set["r1", delivery.kind, 0] = delivery
    await write(store, closed, Reads(lock_runs={"r1"}))
    snapshot = await read(
        store,
        Reads(
            lock_runs={"r1"}, tasks_of={"r1"}, children_of={"r1"}, results={"r1"},
            alarms={("r1", kind, ref) for kind in AlarmKind for ref in (0, 1)},
        ),
    )  # fmt: skip
    assert (snapshot.runs, snapshot.mail, snapshot.tasks, snapshot.children) == ({}, {}, {}, {})
    assert set(snapshot.alarms) == {("r1", outbox.kind, 1), ("r1", delivery.kind, 0)}
    stored = replace(result, failure=b"\x0a\x0aValueError\x1a\x02no")
    assert snapshot.results == {"r1": stored}
    assert await store.results(["r1", "unknown"]) == [stored]
    view = await store.view("default", "r1")
    assert view is not None
    assert (view.open, view.result) == (None, stored)


async def test_a_run_may_be_made_and_closed_in_one_batch(store: CellStore) -> None:
    changes = starting(open_run("r1"))
    changes.opened.clear()
    changes.closed["r1"] = RunResult("r1", "default", RunStatus.TERMINATED, T0)
    changes.swept["r1"] = Side.NONE
    await write(store, changes)
    assert [result.status for result in await store.results(["r1"])] == [RunStatus.TERMINATED]


async def test_a_free_key_is_reserved_and_a_taken_one_names_its_run(store: CellStore) -> None:
    first = await write(store, starting(open_run("r1")), Reads(keys=[key("order-7", "r1")]))
    assert first.keys == {}
    second = await read(store, Reads(keys=[key("order-7", "r2"), key("order-8", "r2")]))
    assert second.keys == {("default", "id", "order-7"): key("order-7", "r1")}
    assert second.key_statuses == {"r1": None}
    assert (await read(store, Reads(keys=[key("order-7", "r1")]))).keys == {}
    await write(store, Changes(closed={"r1": RunResult("r1", "default", RunStatus.FAILED, T0)}))
    repointed = Changes(keys=[key("order-7", "r2")])
    third = await write(store, repointed, Reads(keys=[key("order-7", "r2")]))
    assert third.key_statuses == {"r1": RunStatus.FAILED}
    assert await store.run_of_key("default", "id", "order-7") == key("order-7", "r2")


async def test_a_reserved_key_is_released_when_its_start_is_refused(store: CellStore) -> None:
    reads = Reads(keys=[key("order-7", "r1"), key("order-8", "r1")])
    await write(store, Changes(keys_released=[key("order-7", "r1")]), reads)
    assert await store.run_of_key("default", "id", "order-7") is None
    assert await store.run_of_key("default", "id", "order-8") == key("order-8", "r1")


@pytest.mark.feature("F134")
async def test_append_commits_only_where_epoch_owner_and_length_match(store: CellStore) -> None:
    late = {"losses": 2, "timed_out": True, "attempt_deadline_at": at(5)}
    runs = [open_run(f"r{number}", mail_next=3, **late) for number in range(6)]
    runs[5] = ready_run("r5", 0)
    await write(store, starting(*runs))
    appended = await store.move(
        [
            appending("r0"), appending("r1", epoch=2), appending("r2", expected_seq=2),
            appending("r3", session_id="s2"), appending("unknown"), appending("r5"),
        ],
        at=T0,
    )  # fmt: skip
    assert appended == {"r0": Appended(3, 0)}
    now = (await read(store, Reads(lock_runs={run.run_id for run in runs}))).runs
    assert now["r0"] == replace(
        runs[0], length=2, transition_id=101, losses=0, timed_out=False, attempt_deadline_at=None
    )
    assert [now[run.run_id] for run in runs[1:]] == runs[1:]
    assert await store.journal("r0", 1, 1000) == ([JournalRow("r0", 2, 1, 1, 101, (ENTRY,))], False)
    assert (await store.journal("r1", 1, 1000))[0] == []
    assert await store.has_transition("r0", 1, 1, 101)
    assert not await store.has_transition("r0", 2, 1, 101)
    assert not await store.has_transition("r0", 1, 2, 101)
    assert await store.move([appending("r0")], at=T0) == {}
    assert await store.move([], at=T0) == {}


async def test_a_plain_close_is_committed_only_where_nothing_else_is_left_of_the_run(store: CellStore) -> None:
    runs = [
        open_run("r0"), open_run("r1", mail_next=2), open_run("r2", side=Side.ALARMS),
        open_run("r3", parent_run_id="p1", parent_number=4, mail_next=3, mail_taken=2), open_run("r4"),
        open_run("r5", last_at=at(9)),
    ]  # fmt: skip
    await write(store, starting(*runs))
    moves = [closing(run.run_id) for run in runs if run.run_id != "r4"]
    done = await store.move([*moves, closing("r4", epoch=2), closing("unknown")], at=at(5))
    assert done == {
        "r0": Closed("default", at(5), None, 0),
        "r3": Closed("default", at(5), "p1", 4),
        "r5": Closed("default", at(9), None, 0),
    }
    assert (await read(store, Reads(lock_runs={run.run_id for run in runs}))).runs.keys() == {"r1", "r2", "r4"}
    results = {result.run_id: result for result in await store.results(["r0", "r1", "r3"])}
    assert results == {
        run_id: RunResult(run_id, "default", RunStatus.COMPLETED, at(5), b"result", None) for run_id in ("r0", "r3")
    }
    assert await store.journal("r0", 1, 1000) == ([JournalRow("r0", 3, 2, 1, 201, (ENTRY + ENTRY,))], False)
    told, _ = await store.due_alarms(10, outbox=True)
    assert [(alarm.run_id, alarm.kind) for alarm in told] == [("r3", AlarmKind.OUTBOX_CHILD_CLOSED)]


async def test_runs_are_made_without_reading_and_a_second_time_is_a_conflict(store: CellStore) -> None:
    await store.create(starting(open_run("r1")))
    assert (await read(store, Reads(lock_runs={"r1"}))).runs.keys() == {"r1"}
    with pytest.raises(SerializationConflict):
        await store.create(starting(open_run("r2"), open_run("r1")))
    assert (await read(store, Reads(lock_runs={"r2"}))).runs == {}


async def test_appends_beside_other_commands_are_committed_with_them_or_not_at_all(store: CellStore) -> None:
    await write(store, starting(open_run("r0"), open_run("r1")))
    before_reading: list[int] = []

    def start_another(snapshot: Snapshot) -> Changes:
        before_reading.append(snapshot.runs["r0"].length)
        return starting(open_run("r9"))

    wrong_epoch = replace(appending("r1"), epoch=7)
    hits = await store.transact(Reads(lock_runs={"r0"}), start_another, [appending("r0"), wrong_epoch], at=T0)
    assert hits.keys() == {"r0"}
    assert before_reading == [2], "what is read sees the append"
    assert await store.records(["r9"])

    def fail(snapshot: Snapshot) -> Changes:
        raise DataRejected("on purpose")

    with pytest.raises(DataRejected):
        await store.transact(Reads(), fail, [replace(appending("r1"), transition_id=102)], at=T0)
    assert (await store.journal("r1", 1, 1000))[0] == []


async def test_closed_runs_are_found_by_when_they_closed(store: CellStore) -> None:
    runs = [open_run(f"r{number}") for number in range(1, 5)]
    await write(store, starting(*runs))
    closed = Changes(closed={run.run_id: RunResult(run.run_id, "default", RunStatus.COMPLETED, at(place))
                             for place, run in enumerate(runs[:3])})  # fmt: skip
    await write(store, closed)
    assert await store.closed_since(at(1), 10) == [("r2", at(1)), ("r3", at(2))]
    assert await store.closed_since(at(0), 2) == [("r1", at(0)), ("r2", at(1))]
    assert await store.closed_since(at(3), 2) == []


async def test_alarms_are_replaced_and_the_due_ones_come_oldest_first(store: CellStore) -> None:
    rows = [AlarmRow("r1", AlarmKind.TIMER, ref, at(10 - ref), b"body") for ref in (1, 2, 3)]
    rows.append(AlarmRow("r1", AlarmKind.TIMER, 4, at(10**9)))
    await write(store, Changes(alarms_set={(row.run_id, row.kind, row.ref): row for row in rows}))
    delivery = AlarmRow("r1", AlarmKind.OUTBOX_CHILD, 1, at(3), b"spec", 4)
    await write(store, Changes(alarms_set={("r1", delivery.kind, 1): delivery}))
    assert await store.due_alarms(2) == ([rows[2], rows[1]], timedelta(0))
    assert await store.due_alarms(2, outbox=True) == ([delivery], None)
    due, wait = await store.due_alarms(10, from_start=True)
    assert due == [rows[2], rows[1], rows[0]]
    assert wait is not None
    assert wait > timedelta(days=1)
    moved = replace(rows[0], due_at=at(0), body=b"")
    await write(store, Changes(alarms_set={("r1", moved.kind, 1): moved}, alarms_cleared={("r1", moved.kind, 4)}))
    assert await store.due_alarms(10, from_start=True) == ([moved, rows[2], rows[1]], None)


async def test_an_alarm_that_was_given_up_is_counted_and_shown_with_its_run_but_for_its_body(store: CellStore) -> None:
    await write(store, starting(open_run("r1"), open_run("r2")))
    dead = [DeadLetter("r1", AlarmKind.OUTBOX_CHILD, ref, at(5), b"spec", 20, "no such queue") for ref in (1, 2)]
    await write(store, Changes(dead_letters=list(dead)))
    assert [await store.count_dead_letters(limit) for limit in (1, 10)] == [1, 2]
    view, other = await store.view("default", "r1"), await store.view("default", "r2")
    assert view is not None
    assert other is not None
    assert (view.dead_letters, other.dead_letters) == (tuple(replace(letter, body=b"") for letter in dead), ())


async def test_an_alarm_that_has_failed_is_shown_with_its_run_but_for_its_body(store: CellStore) -> None:
    await write(store, starting(open_run("r1"), open_run("r2")))
    failing = AlarmRow("r1", AlarmKind.OUTBOX_CHILD, 1, at(5), b"spec", 3)
    alarms = (failing, AlarmRow("r1", AlarmKind.TIMER, 1, at(5)), AlarmRow("r2", AlarmKind.TIMER, 1, at(5)))
    await write(store, Changes(alarms_set={(alarm.run_id, alarm.kind, alarm.ref): alarm for alarm in alarms}))
    view, other = await store.view("default", "r1"), await store.view("default", "r2")
    assert view is not None
    assert other is not None
    assert (view.alarms_failing, other.alarms_failing) == ((replace(failing, body=b""),), ())


async def test_children_are_seen_until_they_are_closed(store: CellStore) -> None:
    children = [ChildRow("r1", number, f"c{number}", ClosePolicy.ABANDON) for number in (1, 2)]
    await write(store, Changes(children_added=list(children)))
    await write(store, Changes(children_closed={("r1", 1)}))
    assert (await read(store, Reads(children_of={"r1"}))).children == {"r1": [children[1]]}
    by_key = Reads(children={("r1", 1), ("r1", 2), ("r1", 3)})
    assert (await read(store, by_key)).children == {"r1": [children[1]]}


async def test_requests_that_are_kept_while_a_run_is_open_expire_a_day_after_its_end(store: CellStore) -> None:
    side = Side.REQUESTS
    requests = [RequestRow("r1", "once/go", True, at(10**8)), RequestRow("r1", "req-1", True, at(50))]
    await write(store, starting(open_run("r1", side=side)))
    await write(store, Changes(requests=requests))
    result = RunResult("r1", "default", RunStatus.COMPLETED, at(9))
    await write(store, Changes(closed={"r1": result}, swept={"r1": side}), Reads(lock_runs={"r1"}))
    # Both are long past for any clock: one expires a day after the end, the other before.
    assert await store.prune_requests(10) == 2


async def test_answers_are_repeated_until_they_are_pruned(store: CellStore) -> None:
    rows = [RequestRow("r1", "old", True, T0), RequestRow("r1", "new", False, at(10**9))]
    await write(store, Changes(requests=rows))
    asked = Reads(requests={("r1", "old"), ("r1", "new"), ("r2", "old")})
    assert (await read(store, asked)).requests == {("r1", "old"): True, ("r1", "new"): False}
    assert await store.prune_requests(10) == 1
    assert (await read(store, asked)).requests == {("r1", "new"): False}


async def test_runs_are_listed_newest_first_by_what_is_asked(store: CellStore) -> None:
    for number in range(4):
        run = open_run(f"r{number}", workflow="refund" if number == 3 else "order", epoch=number % 2)
        await write(
            store,
            starting(run, created_at=at(number), id=f"order-{number}", metadata={"n": str(number), "x": "y"}),
            Reads(keys=[key(f"k{number}", run.run_id, kind="key")]),
        )
    await write(store, Changes(closed={"r1": RunResult("r1", "default", RunStatus.COMPLETED, at(9))}))

    async def listed(**wanted: Any) -> list[str]:
        return [view.record.run_id for view in await store.list_runs(RunSelection("default", **wanted))]

    assert await listed() == ["r3", "r2", "r1", "r0"]
    assert await listed(limit=2) == ["r3", "r2"]
    assert await listed(before=(at(2), "r2")) == ["r1", "r0"]
    assert await listed(workflow="order") == ["r2", "r1", "r0"]
    assert await listed(statuses=frozenset({RunStatus.COMPLETED})) == ["r1"]
    assert await listed(statuses=frozenset({RunStatus.PENDING})) == ["r2", "r0"]
    assert await listed(statuses=frozenset({RunStatus.RUNNING, RunStatus.COMPLETED})) == ["r3", "r1"]
    assert await listed(metadata={"n": "2"}) == ["r2"]
    assert await listed(text="efun") == ["r3"]
    assert await listed(text="rder-1") == ["r1"]
    assert await listed(idempotency_key="k2") == ["r2"]
    assert await listed(started_after=at(0), started_before=at(3)) == ["r2", "r1", "r0"]
