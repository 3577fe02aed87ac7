"""One batch of commands: what it must read, and what it decides. The store does the reading and the writing."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from holdfast.errors import HoldfastError

from . import claimed_work, continuations, hooks, interventions, mail_to_children, progress, starts, tasks, transitions
from .changes import Changes
from .claimed_work import Claimed
from .commands import Command, CommitTransition, ReportAttempt
from .continuations import RetryRun
from .events import Event
from .rules import Rules
from .snapshot import Locked, Reads, Snapshot
from .starts import StartAnswer
from .transitions import TransitionAnswer
from .workspace import Assign, Workspace

Answer = TransitionAnswer | StartAnswer | HoldfastError | Claimed | bool


BatchCommand = Command | RetryRun

RULES: Rules = {
    **transitions.RULES,
    **starts.RULES,
    **continuations.RULES,
    **interventions.RULES,
    **hooks.RULES,
    **mail_to_children.RULES,
    **tasks.RULES,
    **progress.RULES,
    **claimed_work.RULES,
}
"""Of each kind of command, all there is to it."""


@dataclass(slots=True)
class Decided:
    """What came of a batch: the rows to write, an answer per command, and the events for the replica.

    reports: of workers, which are recorded now; their repeats are not among them.
    """

    changes: Changes
    answers: list[Answer]
    events: list[Event] = field(default_factory=list)
    reports: list[CommitTransition | ReportAttempt] = field(default_factory=list)


def reads_of(commands: Sequence[BatchCommand]) -> Reads:
    """Everything that the commands need to see, for one round trip."""
    reads = Reads()
    for command in commands:
        RULES[type(command)].reads(reads, command)
    return reads


def decide(commands: Sequence[BatchCommand], snapshot: Snapshot, assign: Assign) -> Decided:
    """Decides the commands in order, each seeing what those before it did."""
    space = Workspace(snapshot, assign)
    answers: list[Answer] = [RULES[type(command)].decide(space, command) for command in commands]
    return Decided(space.changes, answers, space.events, space.reports)


def keys_of(command: BatchCommand) -> tuple[tuple[str, str, str], ...]:
    """The keys that a command reserves, as (namespace, kind, key)."""
    rows = RULES[type(command)].keys(command)
    return tuple([(row.namespace, row.kind, row.key) for row in rows]) if rows else ()


def command_bytes(command: BatchCommand) -> int:
    """How large a command is: what can be large in it, not the rest."""
    return RULES[type(command)].size(command)


def held_up(commands: Sequence[BatchCommand], locked: Locked) -> dict[int, bool]:
    """The commands, by their place, that need rows which another transaction has locked.

    True: the row of its run is among them, so that all later commands of that run are held up too.
    """
    found: dict[int, bool] = {}
    for place, command in enumerate(commands):
        reads = reads_of([command])
        if not reads.lock_runs.isdisjoint(locked.runs):
            found[place] = True
        elif (
            not reads.tasks.isdisjoint(locked.tasks)
            or any(run_id in reads.tasks_of for run_id, _ in locked.tasks)
            or not reads.alarms.isdisjoint(locked.alarms)
            or any((key.namespace, key.kind, key.key) in locked.keys for key in reads.keys)
        ):
            found[place] = False
    return found
