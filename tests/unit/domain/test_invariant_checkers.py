"""Each checker of the invariants finds the violation it is there for, in rows that are sound otherwise."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from holdfast.statuses import RunStatus, Then
from holdfast_coordinator.domain.asks import ConsumeMail
from holdfast_coordinator.domain.mail import MailRow
from holdfast_coordinator.domain.rows import AlarmKind, AlarmRow, OpenRun, RunState, TaskState
from tests.support import invariants
from tests.support.core_cell import T0, CoreCell
from tests.support.core_commands import RUN, child_of, leased, queue_step, run_named, signal, start, suspend, take
from tests.support.invariants import CellRows

CLOSED = run_named(2)
ASLEEP = run_named(3)
TASK = (RUN, 1)


def sound() -> CellRows:
    """A leased run with mail, a queued step and a child; a closed run; a suspended one with an id."""
    cell = CoreCell()
    leased(cell, start(2))
    take(cell, run_id=CLOSED, then=Then.CLOSE)
    leased(cell, start(3, id="a"))
    suspend(cell, run_id=ASLEEP)
    leased(cell)
    cell.submit(signal(1), signal(2))
    take(cell, queue_step(), child_of(), journal=[ConsumeMail(1, T0)], attempt_deadline=timedelta(seconds=9))
    rows = cell.rows()
    invariants.check(rows)
    return rows


def with_run(rows: CellRows, run_id: str = RUN, **changed: object) -> CellRows:
    run = replace(rows.open_runs[run_id], **changed)  # type: ignore[arg-type]
    return replace(rows, open_runs={**rows.open_runs, run_id: run})


def with_task(rows: CellRows, **changed: object) -> CellRows:
    return replace(rows, tasks={TASK: replace(rows.tasks[TASK], **changed)})  # type: ignore[arg-type]


def with_journal(rows: CellRows, run_id: str, change: Callable[[list], list]) -> CellRows:  # type: ignore[type-arg]
    return replace(rows, journals={**rows.journals, run_id: change(list(rows.journals[run_id]))})


def without_alarm(rows: CellRows, kind: AlarmKind) -> CellRows:
    return replace(rows, alarms={key: alarm for key, alarm in rows.alarms.items() if key[1] != kind})


def with_result(rows: CellRows, status: RunStatus) -> CellRows:
    return replace(rows, results=tuple(replace(result, status=status) for result in rows.results))


def second_open_run_with_the_id(rows: CellRows) -> CellRows:
    return replace(rows, runs={**rows.runs, RUN: replace(rows.runs[RUN], id="a")})


def alarm_of_a_closed_run(rows: CellRows) -> CellRows:
    key = (CLOSED, AlarmKind.TIMER, 1)
    return replace(rows, alarms={**rows.alarms, key: AlarmRow(*key, T0)})


BROKEN: list[tuple[invariants.Checker, Callable[[CellRows], CellRows]]] = [
    (invariants.journals_are_dense, lambda rows: with_journal(rows, CLOSED, lambda journal: journal[1:])),
    (invariants.journals_are_dense, lambda rows: with_run(rows, length=9)),
    (invariants.transitions_are_recorded_once, lambda rows: with_journal(rows, RUN, lambda journal: journal * 2)),
    (invariants.runs_are_open_or_closed, lambda rows: replace(rows, results=())),
    (invariants.runs_are_open_or_closed, lambda rows: replace(rows, results=[*rows.results, *rows.results])),
    (invariants.closed_journals_end_with_the_close, lambda rows: with_journal(rows, CLOSED, lambda rows: rows[:1])),
    (invariants.open_runs_are_in_one_place, lambda rows: with_run(rows, owner=None)),
    (invariants.open_runs_are_in_one_place, lambda rows: with_run(rows, ASLEEP, state=RunState.READY)),
    (invariants.open_runs_are_in_one_place, lambda rows: with_run(rows, ASLEEP, state=RunState.STALLED)),
    (invariants.open_runs_are_in_one_place, lambda rows: with_run(rows, ASLEEP, waits=None)),
    (invariants.open_runs_are_in_one_place, lambda rows: with_run(rows, ASLEEP, epoch=0)),
    (invariants.mail_is_taken_once_and_in_order, lambda rows: replace(rows, mail={})),
    (invariants.mail_is_taken_once_and_in_order, lambda rows: with_run(rows, mail_taken=2)),
    (invariants.rows_of_runs_belong_to_open_runs, alarm_of_a_closed_run),
    (invariants.queued_attempts_are_counted, lambda rows: with_task(rows, state=TaskState.CLAIMED)),
    (invariants.queued_attempts_are_counted, lambda rows: with_task(rows, attempt=1)),
    (invariants.queued_attempts_are_counted, lambda rows: with_task(rows, losses=4)),
    (invariants.ids_name_one_open_run, second_open_run_with_the_id),
    (invariants.ids_name_one_open_run, lambda rows: replace(rows, keys={})),
    (invariants.attempts_are_watched, lambda rows: without_alarm(rows, AlarmKind.ATTEMPT_DEADLINE)),
    (invariants.parents_will_hear_of_their_children, lambda rows: without_alarm(rows, AlarmKind.OUTBOX_CHILD)),
    (invariants.chains_go_on, lambda rows: with_result(rows, RunStatus.CONTINUED_AS_NEW)),
    (invariants.namespaces_are_apart, lambda rows: with_task(rows, namespace="other")),
]


def mail_for_a_sleeper(rows: CellRows) -> CellRows:
    (mail,) = rows.mail[RUN]
    return replace(rows, mail={**rows.mail, ASLEEP: (MailRow(ASLEEP, 1, mail.kind, T0, b""),)})


def result_rewritten(rows: CellRows) -> CellRows:
    return with_result(rows, RunStatus.FAILED)


STEPS_BROKEN: list[tuple[invariants.StepChecker, Callable[[CellRows], CellRows]]] = [
    (invariants.closed_runs_never_change, result_rewritten),
    (
        invariants.closed_runs_never_change,
        lambda rows: with_journal(rows, CLOSED, lambda journal: journal + journal[:1]),
    ),
    (invariants.journals_only_grow, lambda rows: with_journal(rows, RUN, lambda journal: journal[:1])),
    (invariants.journals_only_grow, lambda rows: replace(rows, runs={})),
    (invariants.epochs_never_decrease, lambda rows: with_run(rows, epoch=0)),
    (invariants.epochs_never_decrease, lambda rows: with_run(rows, owner="ses_thief")),
    (invariants.epochs_never_decrease, lambda rows: with_task(rows, epoch=-1)),
]


@pytest.mark.parametrize(("checker", "spoil"), BROKEN)
def test_a_checker_finds_its_violation(checker: invariants.Checker, spoil: Callable[[CellRows], CellRows]) -> None:
    assert list(checker(spoil(sound())))


@pytest.mark.parametrize(("checker", "spoil"), STEPS_BROKEN)
def test_a_step_checker_finds_its_violation(
    checker: invariants.StepChecker, spoil: Callable[[CellRows], CellRows]
) -> None:
    rows = sound()
    assert not list(checker(rows, rows))
    assert list(checker(rows, spoil(rows)))


def test_a_run_that_sleeps_with_mail_is_found() -> None:
    with pytest.raises(AssertionError, match="sleeps although it has mail"):
        invariants.check(mail_for_a_sleeper(sound()))


def test_every_checker_has_a_broken_input() -> None:
    assert {checker for checker, _ in BROKEN} == set(invariants.CHECKERS)
    assert {checker for checker, _ in STEPS_BROKEN} == set(invariants.STEP_CHECKERS)


def test_a_row_of_the_core_is_copied_whole() -> None:
    run: OpenRun = sound().open_runs[RUN]
    assert run.copy() == run
    task = sound().tasks[TASK]
    assert task.copy() == task
