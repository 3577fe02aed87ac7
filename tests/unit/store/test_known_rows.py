"""What a cell store knows by heart of the rows that its writer wrote: enough to decide on, or nothing."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest

from holdfast.statuses import RunStatus
from holdfast_coordinator.domain.changes import Changes
from holdfast_coordinator.domain.commands import ClaimTasks
from holdfast_coordinator.domain.events import Appended, Closed
from holdfast_coordinator.domain.mail import MailKind, MailRow, SignalMail, StepResultMail, StoredBody
from holdfast_coordinator.domain.rows import AlarmKind, OpenRun, RunResult, TaskState
from holdfast_coordinator.domain.snapshot import LAST_AT_AHEAD_MAX, Reads, Snapshot
from holdfast_coordinator.domain.states import TaskTrigger, move_task
from holdfast_coordinator.store.known_rows import MAIL_MAX, ROW_BYTES_MAX, RUNS_MAX, TASKS_MAX, KnownRows
from tests.support.store_rows import T0, appending, at, closing, key, open_run, task


def result(number: int, *, run_id: str = "r1", size: int = 1) -> MailRow:
    """Mail: a queued step has ended."""
    return MailRow(run_id, number, MailKind.STEP_RESULT, T0, StepResultMail(number, (), b"x" * size))


def knowing(*runs: OpenRun, version: int = 7, mail: Iterable[MailRow] = (), **changed: Any) -> KnownRows:
    """What is known after these were written."""
    known = KnownRows()
    changes = Changes(updated={run.run_id: run for run in runs}, mail_added=list(mail), **changed)
    known.written(changes, version)
    return known


def seen(known: KnownRows, reads: Reads | None = None) -> Snapshot | None:
    """What a batch would see, by default one that needs run r1."""
    recalled = known.recall(reads or Reads(lock_runs={"r1"}), at(1))
    return None if recalled is None else recalled.snapshot


def test_what_was_written_is_known_with_its_version() -> None:
    claimed = task("r1", 1, state=TaskState.CLAIMED)
    known = knowing(open_run("r2"), open_run("r1"), tasks_added={("r1", 1): claimed})
    recalled = known.recall(Reads(lock_runs={"r1", "r2"}, tasks={("r1", 1)}), at(1))
    assert recalled is not None
    assert recalled.snapshot == Snapshot(
        now=at(1), runs={"r1": open_run("r1"), "r2": open_run("r2")}, tasks={("r1", 1): claimed}
    )
    assert (recalled.runs, recalled.tasks) == ([("r1", 7), ("r2", 7)], [("r1", 1, 7)])


@pytest.mark.parametrize(
    "reads",
    [
        Reads(lock_runs={"r1", "r2"}),
        Reads(lock_runs={"r1"}, tasks={("r1", 1)}),
        Reads(lock_runs={"r1"}, tasks_of={"r1"}),
        Reads(lock_runs={"r1"}, children_of={"r1"}),
        Reads(lock_runs={"r1"}, children={("r1", 1)}),
        Reads(lock_runs={"r1"}, alarms={("r1", AlarmKind.TIMER, 1)}),
        Reads(lock_runs={"r1"}, keys=[key("order-7", "r1")]),
        Reads(lock_runs={"r1"}, starts={"r1": "default"}),
        Reads(lock_runs={"r1"}, requests={("r1", "request-1")}),
        Reads(lock_runs={"r1"}, results={"r1"}),
        Reads(lock_runs={"r1"}, claim_tasks=[ClaimTasks("default", "default", ("charge",), 1)]),
    ],
)
def test_a_batch_that_needs_anything_else_is_not_recalled(reads: Reads) -> None:
    assert seen(knowing(open_run("r1")), reads) is None


def test_the_last_write_of_a_row_is_what_is_known() -> None:
    known = knowing(open_run("r1"))
    known.written(Changes(updated={"r1": open_run("r1", length=3)}), 8)
    recalled = known.recall(Reads(lock_runs={"r1"}), at(1))
    assert recalled is not None
    assert (recalled.snapshot.runs["r1"].length, recalled.runs) == (3, [("r1", 8)])


def test_a_run_that_closed_and_a_step_that_ended_are_not_known() -> None:
    known = knowing(open_run("r1"), tasks_added={("r1", 1): task("r1", 1), ("r1", 2): task("r1", 2)})
    known.written(Changes(tasks_deleted={("r1", 1)}), 8)
    assert seen(known, Reads(tasks={("r1", 1)})) is None
    assert seen(known, Reads(tasks={("r1", 2)})) is not None
    closed = RunResult("r1", "default", RunStatus.COMPLETED, T0)
    known.written(Changes(updated={"r1": open_run("r1")}, closed={"r1": closed}), 9)
    assert seen(known) is None


def test_mail_is_known_until_it_is_taken() -> None:
    known = knowing(open_run("r1", mail_next=2), mail=[result(1)])
    known.written(Changes(updated={"r1": open_run("r1", mail_next=3)}, mail_added=[result(2)]), 8)
    snapshot = seen(known)
    assert snapshot is not None
    assert snapshot.mail == {"r1": [result(1), result(2)]}
    known.written(Changes(updated={"r1": open_run("r1", mail_next=3, mail_taken=1)}), 9)
    snapshot = seen(known)
    assert snapshot is not None
    assert snapshot.mail == {"r1": [result(2)]}


def test_a_run_with_mail_that_others_wrote_is_not_known() -> None:
    assert seen(knowing(open_run("r1", mail_next=3), mail=[result(2)])) is None


@pytest.mark.parametrize(
    "mail",
    [
        [result(1, size=ROW_BYTES_MAX + 1)],
        [MailRow("r1", 1, MailKind.SIGNAL, T0, SignalMail("go", b""), b"x" * (ROW_BYTES_MAX + 1))],
        [MailRow("r1", 1, MailKind.SIGNAL, T0, StoredBody(10))],
        [result(number) for number in range(1, MAIL_MAX + 2)],
    ],
)
def test_large_mail_is_not_kept_nor_much_of_it(mail: list[MailRow]) -> None:
    known = knowing(open_run("r1"))
    known.written(Changes(updated={"r1": open_run("r1", mail_next=len(mail) + 1)}, mail_added=mail), 8)
    assert seen(known) is None


def test_a_step_with_large_arguments_is_not_kept() -> None:
    large = task("r1", 1, arguments=b"x" * (ROW_BYTES_MAX + 1))
    assert seen(knowing(tasks_added={("r1", 1): large}), Reads(tasks={("r1", 1)})) is None


def test_an_append_changes_what_is_known() -> None:
    known = knowing(open_run("r1", losses=1, timed_out=True, attempt_deadline_at=at(9)))
    for version, length in ((8, 1), (9, 2)):
        asked = appending("r1", expected_seq=length)
        known.moved([asked], {"r1": Appended(1, 0, version=version)})
    recalled = known.recall(Reads(lock_runs={"r1"}), at(1))
    assert recalled is not None
    assert recalled.runs == [("r1", 9)]
    assert recalled.snapshot.runs["r1"] == open_run("r1", length=3, transition_id=102)


@pytest.mark.parametrize("moved", [None, Appended(2, 0, version=8), Closed("default", T0, None, 0)])
def test_a_compare_and_set_that_missed_or_closed_or_met_mail_leaves_nothing_known(
    moved: Appended | Closed | None,
) -> None:
    known = knowing(open_run("r1"))
    asked = closing("r1") if isinstance(moved, Closed) else appending("r1")
    known.moved([asked], {} if moved is None else {"r1": moved})
    assert seen(known) is None


def test_what_did_not_hold_is_forgotten() -> None:
    known = knowing(open_run("r1"), tasks_added={("r1", 1): task("r1", 1)})
    recalled = known.recall(Reads(lock_runs={"r1"}, tasks={("r1", 1)}), at(1))
    assert recalled is not None
    known.forget(recalled)
    assert seen(known) is None
    assert seen(known, Reads(tasks={("r1", 1)})) is None


def test_what_is_decided_changes_nothing_that_is_known() -> None:
    known = knowing(open_run("r1"), tasks_added={("r1", 1): task("r1", 1, state=TaskState.CLAIMED)})
    for _ in range(2):
        snapshot = seen(known, Reads(lock_runs={"r1"}, tasks={("r1", 1)}))
        assert snapshot is not None
        assert (snapshot.tasks["r1", 1].owner, list(snapshot.runs)) == ("s1", ["r1"])
        move_task(snapshot.tasks["r1", 1], TaskTrigger.CANCEL)
        snapshot.tasks["r1", 1].owner = None
        snapshot.runs.clear()


def test_the_time_is_not_before_the_last_one_of_a_run() -> None:
    for ahead, now in ((LAST_AT_AHEAD_MAX, at(1) + LAST_AT_AHEAD_MAX), (timedelta(days=1), at(1))):
        snapshot = seen(knowing(open_run("r1", last_at=at(1) + ahead)))
        assert snapshot is not None
        assert snapshot.now == now


def test_only_so_many_rows_are_known_the_latest_ones() -> None:
    known = knowing(
        *(open_run(f"r{number}") for number in range(RUNS_MAX + 1)),
        tasks_added={("r1", number): task("r1", number) for number in range(1, TASKS_MAX + 2)},
    )
    assert seen(known, Reads(lock_runs={"r0"})) is None
    assert seen(known) is not None
    assert seen(known, Reads(tasks={("r1", 1)})) is None
    assert seen(known, Reads(tasks={("r1", 2)})) is not None
