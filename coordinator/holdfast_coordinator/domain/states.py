"""The states of open runs and of queued steps as tables: which trigger leads from where to where, and what it changes.

Whatever the core does to a run or a queued step, its state changes through `move_run` and `move_task` alone. A trigger
that the table does not have for a state is refused. docs/ARCHITECTURE.md shows these tables, generated from here. No
row is written that does not hold what RUN_FIELDS and TASK_FIELDS say of its state: see `check_run`, `check_task`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from itertools import product
from operator import attrgetter
from typing import Generic, TypeVar

from holdfast.errors import HoldfastError

from .rows import OpenRun, RunState, TaskRow, TaskState

State = TypeVar("State", bound=IntEnum)
Trigger = TypeVar("Trigger", bound=IntEnum)


class RunTrigger(IntEnum):
    """What moves an open run."""

    WAKE = 0
    LEASE = 1
    SUSPEND = 2
    RELEASE = 3
    STALL = 4
    END_LEASE = 5
    GIVE_UP = 6
    RESUME = 7
    CLOSE = 8
    END = 9


class TaskTrigger(IntEnum):
    """What moves a queued step."""

    CLAIM = 0
    RETURN = 1
    FINISH = 2
    CANCEL = 3


@dataclass(slots=True, frozen=True)
class Edge(Generic[State]):
    """One way from a state to another.

    to: None when the row is deleted. when: what happens, for people. sets, clears: the columns that have a value
    afterwards (counters: a higher one), and those that have none; `may_set` is set or cleared. Others are left alone.
    """

    to: State | None
    when: str
    sets: tuple[str, ...] = ()
    may_set: tuple[str, ...] = ()
    clears: tuple[str, ...] = ()


@dataclass(slots=True, frozen=True)
class Holding(Generic[State]):
    """In which states a column has a value: always, or now and then; in the others it never has one."""

    states: tuple[State, ...]
    always: bool = True


class UnsoundRow(HoldfastError):
    """A row that cannot be: it has what its state does not, or the other way round. Nothing of it is recorded."""


class MoveRefused(HoldfastError):
    """A run or a queued step cannot do this in its state. The command is refused, and nothing is recorded of it."""

    def __init__(self, what: str, state: IntEnum, trigger: IntEnum) -> None:
        super().__init__(f"{what} is {state.name.lower()}, where it cannot {trigger.name.lower().replace('_', ' ')}")
        self.state = state
        self.trigger = trigger


NEW_RUN = RunState.SUSPENDED
"""Where a run begins. One without a delay is woken in the same transaction."""
NEW_TASK = TaskState.READY

_HELD = ("owner", "attempt_deadline_at")
RUN_EDGES: Mapping[tuple[RunState, RunTrigger], Edge[RunState]] = {
    (RunState.SUSPENDED, RunTrigger.WAKE): Edge(
        RunState.READY, "mail arrives, or the start is due", sets=("ready_at",), clears=("waits",)
    ),
    (RunState.READY, RunTrigger.LEASE): Edge(
        RunState.LEASED, "a session takes it", sets=("owner", "sticky", "epoch", "transition_id"),
        clears=("ready_at", "stall_build"),
    ),
    (RunState.LEASED, RunTrigger.SUSPEND): Edge(
        RunState.SUSPENDED, "its code waits", sets=("waits",), clears=_HELD
    ),
    (RunState.LEASED, RunTrigger.RELEASE): Edge(
        RunState.READY, "the worker gives it back", sets=("ready_at",), clears=(*_HELD, "sticky")
    ),
    (RunState.LEASED, RunTrigger.STALL): Edge(
        RunState.STALLED, "its code cannot go on", sets=("stall_reason",), may_set=("stall_build",), clears=_HELD
    ),
    (RunState.LEASED, RunTrigger.END_LEASE): Edge(
        RunState.READY, "the worker is lost, late, or never got it", sets=("epoch", "ready_at"), clears=_HELD
    ),
    (RunState.LEASED, RunTrigger.GIVE_UP): Edge(
        RunState.STALLED, "the fifth worker in a row is lost", sets=("epoch", "stall_reason"), clears=_HELD
    ),
    (RunState.STALLED, RunTrigger.RESUME): Edge(
        RunState.READY, "an operator resumes it, or another build comes", sets=("ready_at",),
        may_set=("stall_build",), clears=("stall_reason",),
    ),
    (RunState.LEASED, RunTrigger.CLOSE): Edge(None, "its code ends"),
    **{
        (state, RunTrigger.END): Edge(None, "terminated, or past its deadline")
        for state in (RunState.LEASED, RunState.STALLED)
    },
    **{
        (state, RunTrigger.END): Edge(None, "terminated, past its deadline, or cancelled before its first lease")
        for state in (RunState.READY, RunState.SUSPENDED)
    },
}  # fmt: skip
"""PAUSED is reserved: nothing leads there yet, and nothing away."""

_CLAIMED = ("owner", "started_at", "deadline_at")
TASK_EDGES: Mapping[tuple[TaskState, TaskTrigger], Edge[TaskState]] = {
    (TaskState.READY, TaskTrigger.CLAIM): Edge(
        TaskState.CLAIMED, "a session takes it", sets=("owner", "started_at", "attempt", "epoch"),
        may_set=("deadline_at",),
    ),
    (TaskState.CLAIMED, TaskTrigger.RETURN): Edge(
        TaskState.READY, "the attempt ended, another follows", sets=("ready_at",), clears=_CLAIMED
    ),
    (TaskState.CLAIMED, TaskTrigger.FINISH): Edge(None, "its last attempt ended, the result is mail"),
    **{
        (state, TaskTrigger.CANCEL): Edge(None, "cancelled, or its run closes")
        for state in (TaskState.READY, TaskState.CLAIMED)
    },
}  # fmt: skip

RUN_FIELDS: Mapping[str, Holding[RunState]] = {
    "owner": Holding((RunState.LEASED,)),
    "ready_at": Holding((RunState.READY,)),
    "attempt_deadline_at": Holding((RunState.LEASED,), always=False),
    "waits": Holding((RunState.SUSPENDED,), always=False),
    "stall_reason": Holding((RunState.STALLED,)),
    "stall_build": Holding((RunState.READY, RunState.STALLED), always=False),
}
"""A run that waits for its first lease has no `waits`. A resumed one keeps `stall_build`, whose sessions do not get it,
until it is leased."""
TASK_FIELDS: Mapping[str, Holding[TaskState]] = {
    "owner": Holding((TaskState.CLAIMED,)),
    "started_at": Holding((TaskState.CLAIMED,)),
    "deadline_at": Holding((TaskState.CLAIMED,), always=False),
}


def _held_by_state(fields: Mapping[str, Holding[State]], states: Iterable[State]) -> dict[State, set[tuple[bool, ...]]]:
    """By state: which of the columns have a value together, in the order of `fields`."""
    return {
        state: set(
            product(
                *(
                    (False,) if state not in held.states else (True,) if held.always else (False, True)
                    for held in fields.values()
                )
            )
        )
        for state in states
    }


_RUN_HELD = _held_by_state(RUN_FIELDS, RunState)
_TASK_HELD = _held_by_state(TASK_FIELDS, TaskState)
_run_fields = attrgetter(*RUN_FIELDS)
_task_fields = attrgetter(*TASK_FIELDS)


def check_run(run: OpenRun) -> None:
    """Raises UnsoundRow for a run that cannot be. Not a CHECK constraint, whose text Postgres reads anew in each
    statement that writes the table: that was a tenth of what it used for an idle run."""
    held = tuple([value is not None for value in _run_fields(run)])
    if held not in _RUN_HELD.get(run.state, ()):
        raise UnsoundRow(f"run {run.run_id} cannot be {run.state!r} with {_shown(RUN_FIELDS, held)}")
    if run.epoch < 0 or run.length < 0 or not 0 <= run.mail_taken < run.mail_next:
        raise UnsoundRow(
            f"run {run.run_id} cannot have epoch {run.epoch}, {run.length} entries, and mail {run.mail_taken} taken "
            f"before {run.mail_next}"
        )


def check_task(task: TaskRow) -> None:
    """As `check_run`, of a queued step."""
    held = tuple([value is not None for value in _task_fields(task)])
    if task.number < 1 or held not in _TASK_HELD.get(task.state, ()):
        raise UnsoundRow(
            f"step {task.number} of run {task.run_id} cannot be {task.state!r} with {_shown(TASK_FIELDS, held)}"
        )


def _shown(fields: Mapping[str, Holding[State]], held: tuple[bool, ...]) -> str:
    return ", ".join(name for name, has_it in zip(fields, held, strict=True) if has_it) or "nothing"


def move_run(run: OpenRun, trigger: RunTrigger) -> None:
    """Moves a changed run and clears what its new state does not have; the caller sets what the table says.

    Raises MoveRefused when the state of the run does not have the trigger.
    """
    move = _RUN_MOVES[trigger][run.state]
    if move is None:
        raise MoveRefused(f"run {run.run_id}", run.state, trigger)
    run.state, clears = move
    for name in clears:
        setattr(run, name, None)


def move_task(task: TaskRow, trigger: TaskTrigger) -> None:
    """Moves a changed queued step, as `move_run` does runs."""
    move = _TASK_MOVES[trigger][task.state]
    if move is None:
        raise MoveRefused(f"step {task.number} of run {task.run_id}", task.state, trigger)
    task.state, clears = move
    for name in clears:
        setattr(task, name, None)


def _indexed(
    edges: Mapping[tuple[State, Trigger], Edge[State]], triggers: type[Trigger], states: type[State]
) -> list[list[tuple[State, tuple[str, ...]] | None]]:
    """By trigger and state: the next state (the same for a row that is deleted), and what is cleared.

    Lists, because the hash of an enum's member costs more than all the rest of a move.
    """
    moves: list[list[tuple[State, tuple[str, ...]] | None]] = [[None] * (max(states) + 1) for _ in triggers]
    for (state, trigger), edge in edges.items():
        moves[trigger][state] = (state if edge.to is None else edge.to, edge.clears)
    return moves


_RUN_MOVES = _indexed(RUN_EDGES, RunTrigger, RunState)
_TASK_MOVES = _indexed(TASK_EDGES, TaskTrigger, TaskState)
