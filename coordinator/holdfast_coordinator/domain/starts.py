"""What a start does: make a run, join the one that has its id or key, or be refused."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from holdfast.errors import HoldfastError, InvalidRequest, LimitExceeded, RunAlreadyStarted, RunConflict
from holdfast.journal import Failure, RunClosed, RunStarted
from holdfast.limits import nesting_problem
from holdfast.record import record
from holdfast.statuses import RunStatus

from . import hashed_calls
from .closes import close_run
from .commands import OnConflict, Reuse, StartRun
from .rows import AlarmKind, KeyRow, OpenRun, RunRow
from .rules import Rule, Rules
from .snapshot import KnownRuns, Reads
from .states import RunTrigger
from .workspace import Workspace, not_before

ID = "id"
KEY = "key"
START = "start"
"""The kind of the key under which a start that joined a run is remembered; the key is the run id it would have made."""


@record
class Started:
    """The run that a start made or joined."""

    run_id: str
    attached: bool


@record
class TerminateFirst:
    """The start asks for the end of this open run first; the engine does so and repeats the start."""

    run_id: str


@record
class RetryInstead:
    """The start asks to continue this closed run; the engine does so."""

    run_id: str


StartAnswer = Started | TerminateFirst | RetryInstead | HoldfastError


def _reads(reads: Reads, asked: StartRun) -> None:
    reads.starts[asked.run_id] = asked.namespace
    reads.keys.extend(key_rows(asked))
    reads.wants_outbox(asked.outbox)


def start_run(space: Workspace, asked: StartRun) -> StartAnswer:
    """Decides in this order: repeat of the same start, idempotency key, business id, new run."""
    known = space.known
    if not space.clear_outbox(asked.outbox):
        _release_keys(space, asked, known)
        return Started(asked.run_id, attached=True)  # the delivery was made before
    earlier = known.existing.get(asked.run_id)
    if earlier is not None:
        _release_keys(space, asked, known)
        return repeated(earlier, asked.run_id, asked.namespace, asked.call_digest)
    answer = _too_deep(asked) or _join(asked, known)
    if answer is None:
        run = _create(space, asked)
        _point_keys(space, asked, known)
        if not asked.delay:
            space.make_ready(run, RunTrigger.WAKE)
    elif asked.parent_run_id is not None:
        _release_keys(space, asked, known)
        _fail_child(space, asked, answer)
    else:
        if isinstance(answer, Started):
            _let_key_stand_for(answer.run_id, space, asked, known)
            _remember_join(answer.run_id, space, asked, known)
        else:
            _release_keys(space, asked, known)
        return answer
    # A repeat may be in this very batch: it has not read what is written here.
    known.existing[asked.run_id] = (asked.namespace, asked.call_digest, asked.run_id)
    return Started(asked.run_id, attached=False)


def _too_deep(asked: StartRun) -> HoldfastError | None:
    """Why a child must not be made: what starts children of its own without end would never come to an end."""
    problem = nesting_problem(asked.workflow, asked.depth, asked.depth_max)
    return LimitExceeded(problem) if problem else None


def repeated(
    earlier: tuple[str, bytes, str], run_id: str, namespace: str, call_digest: bytes
) -> Started | HoldfastError:
    """The answer to a start whose start id was used before: the first one, or a refusal when it is another start."""
    if earlier[:2] != (namespace, call_digest):
        return start_id_taken(run_id)
    return Started(earlier[2], attached=earlier[2] != run_id)


def start_id_taken(run_id: str) -> HoldfastError:
    """The refusal of a start id that another start used, in whatever namespace."""
    return InvalidRequest("start_id", f"was used for run {run_id} with other arguments; choose another")


def needs_no_reading(asked: StartRun) -> bool:
    """True when nothing that exists can matter but a run of the same start id, which its primary key refuses."""
    return not (asked.id or asked.idempotency_key or asked.outbox or asked.delay or asked.max_duration)


def key_rows(asked: StartRun) -> list[KeyRow]:
    """The keys that a start reserves."""
    if asked.id is None and asked.idempotency_key is None:
        return []
    named = ((ID, asked.id), (KEY, asked.idempotency_key))
    return [
        KeyRow(asked.namespace, kind, key, asked.run_id, asked.call_digest, asked.workflow, asked.signature_digest)
        for kind, key in named
        if key is not None
    ]


def _join(asked: StartRun, known: KnownRuns) -> StartAnswer | None:
    """The run to join or why not; None when a new run is to be made.

    The idempotency key first: with it the start is a repeat, and gets its first answer whatever its policies say.
    """
    for row in reversed(key_rows(asked)):
        holder = known.keys.get((row.namespace, row.kind, row.key))
        if holder is None:
            continue
        status = known.statuses.get(holder.run_id)
        if row.kind == ID:
            decided = _policy(asked, holder, status)
            if isinstance(decided, str):
                continue
            if decided is not None:
                return decided
        difference = _difference(asked, holder)
        if difference:
            label = f"id {row.key!r}" if row.kind == ID else f"idempotency key {row.key!r}"
            return RunConflict(label, holder.run_id, difference=difference)
        return Started(holder.run_id, attached=True)
    return None


def _policy(asked: StartRun, holder: KeyRow, status: RunStatus | None) -> StartAnswer | Literal["new"] | None:
    """What the policies of the start say about the run that has its id: an answer, "new", or None to join it."""
    if status is None:
        if asked.on_conflict is OnConflict.REJECT:
            return RunAlreadyStarted(holder.key, holder.run_id)
        return TerminateFirst(holder.run_id) if asked.on_conflict is OnConflict.TERMINATE else None
    if asked.on_conflict is OnConflict.TERMINATE or asked.reuse is Reuse.NEW:
        return "new"
    may_retry = asked.reuse is Reuse.RETRY_FAILED and status not in (RunStatus.COMPLETED, RunStatus.CONTINUED_AS_NEW)
    return RetryInstead(holder.run_id) if may_retry and not _difference(asked, holder) else None


def _difference(asked: StartRun, holder: KeyRow) -> str:
    if holder.workflow != asked.workflow:
        return f"workflow {holder.workflow!r}"
    return hashed_calls.difference(asked.call_digest, holder.call_digest, asked.signatures, holder.signature_digest)


def _release_keys(space: Workspace, asked: StartRun, known: KnownRuns, kinds: Sequence[str] = (ID, KEY)) -> None:
    space.changes.keys_released += reserved_of([row for row in key_rows(asked) if row.kind in kinds], known)


def reserved_of(keys: Sequence[KeyRow], known: KnownRuns) -> list[KeyRow]:
    """Those of the keys that this batch has inserted: to be given back when the run that they are for will not be."""
    return [row for row in keys if (row.namespace, row.kind, row.key) in known.reserved]


def _point_keys(space: Workspace, asked: StartRun, known: KnownRuns) -> None:
    """Lets the keys of the start stand for the run it made, where another run had them."""
    space.changes.keys.extend(row for row in key_rows(asked) if (row.namespace, row.kind, row.key) in known.keys)


def _let_key_stand_for(run_id: str, space: Workspace, asked: StartRun, known: KnownRuns) -> None:
    """Lets a fresh idempotency key stand for the joined run, so that its repeats join that one too.

    An id never moves to a run that was not started with it: two open runs could have it then.
    """
    _release_keys(space, asked, known, (ID,))
    for row in key_rows(asked):
        if row.kind == KEY and (row.namespace, row.kind, row.key) in known.reserved:
            row.run_id = run_id
            holder = known.keys.get((asked.namespace, ID, asked.id or ""))
            if holder is not None:
                row.signature_digest = holder.signature_digest
            space.changes.keys.append(row)


def _remember_join(run_id: str, space: Workspace, asked: StartRun, known: KnownRuns) -> None:
    """Remembers that this start joined a run: a repeat gets the same answer, also when that run has closed since."""
    row = KeyRow(asked.namespace, START, asked.run_id, run_id, asked.call_digest, asked.workflow)
    space.changes.joins.append(row)
    known.existing[asked.run_id] = (asked.namespace, asked.call_digest, run_id)


def _fail_child(space: Workspace, asked: StartRun, answer: StartAnswer) -> None:
    """Makes a child that cannot have its id, and closes it at once, so that its parent gets that as its end.

    It joins no run, not even an equal one: who ends with a parent, or is cancelled by it, can have one parent only.
    """
    if isinstance(answer, HoldfastError):
        # With the class where the text is all there is to it: the parent gets the error itself as the cause.
        kind = type(answer)
        error_class = f"{kind.__module__}:{kind.__name__}" if kind is LimitExceeded else ""
        failure = Failure(kind.__name__, str(answer), error_class)
    else:
        text = (
            f"run {answer.run_id} has the id {asked.id!r}, and a child does not join the run of somebody else; "
            "give the child another id, or none"
        )
        failure = Failure(RunAlreadyStarted.__name__, text)
    run = _create(space, replace(asked, id=None, idempotency_key=None, delay=None, max_duration=None))
    closing = RunClosed(space.now, RunStatus.FAILED, failure=failure)
    close_run(space, run, RunTrigger.END, RunStatus.FAILED, [], closing, count=0, failure=failure)


def _create(space: Workspace, asked: StartRun) -> OpenRun:
    """A new run with its first entry and its alarms; without a delay the caller makes it ready."""
    now = not_before(asked.asked_at, space.now)
    deadline_at = now + asked.max_duration if asked.max_duration is not None else None
    record = RunRow(
        run_id=asked.run_id,
        namespace=asked.namespace,
        workflow=asked.workflow,
        queue=asked.queue,
        created_at=now,
        arguments=asked.arguments,
        call_digest=asked.call_digest,
        id=asked.id,
        idempotency_key=asked.idempotency_key,
        priority=asked.priority,
        deadline_at=deadline_at,
        metadata=asked.metadata,
        trace=asked.trace,
        parent_run_id=asked.parent_run_id,
        parent_number=asked.parent_number,
        depth=asked.depth,
    )
    run = space.add_run(record, asked.traced)
    space.append(run, [RunStarted(now, record.workflow)], 1)
    if asked.delay:
        space.set_alarm(run, AlarmKind.START, 0, now + asked.delay)
    return run


RULES: Rules = {StartRun: Rule(_reads, start_run, size=lambda asked: len(asked.arguments), keys=key_rows)}
