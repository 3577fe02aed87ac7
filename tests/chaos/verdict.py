"""What must hold after a chaos run, checked from tables, ledger, the clients' log and exported spans. Pure.

Every checker yields a sentence per violation.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from holdfast.api.v1 import journal_pb2
from holdfast.journal.kinds import STEP_ENDS
from holdfast_coordinator.domain.rows import JournalRow, RunRow, RunState
from holdfast_coordinator.wire.journals import journal_message
from tests.chaos import ledger
from tests.chaos.ledger import TOKEN_LENGTH, Line
from tests.chaos.load import Call, Story, tokens_of, without_tokens
from tests.chaos.programs import effects, expected, repaired
from tests.support.invariants import CHECKERS, CellRows
from tests.support.otlp_sink import ReceivedSpan

FAILED_SHARE_MAX = 0.5
"""With more of the calls unanswered the faults have proven nothing."""


@dataclass(slots=True)
class Evidence:
    """Everything that is left of a chaos run."""

    rows: CellRows
    dead_letters: Sequence[str]
    lines: Sequence[Line]
    calls: Sequence[Call]
    stories: Sequence[Story]
    spans: Sequence[ReceivedSpan]
    families: Mapping[str, frozenset[str]] = field(default_factory=dict)
    journals: Mapping[str, Sequence[journal_pb2.JournalRow]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.families = _families(self.rows.runs)
        self.journals = {run_id: [*map(journal_message, rows)] for run_id, rows in self.rows.journals.items()}

    def family(self, story: Story) -> frozenset[str]:
        """The runs of a plan: its own, those that retried it, and their children."""
        return frozenset().union(*(self.families.get(run_id, frozenset([run_id])) for run_id in story.run_ids))

    def origin(self, run_id: str) -> str:
        """The first of the runs that this one continues by retries; the run itself when it is no retry."""
        record = self.rows.runs.get(run_id)
        return run_id if record is None or not record.origin_run_id else self.origin(record.origin_run_id)


Checker = Callable[[Evidence], Iterator[str]]


def the_rows_are_sound(seen: Evidence) -> Iterator[str]:
    """The invariants of the core."""
    for checker in CHECKERS:
        for text in checker(seen.rows):
            yield f"{checker.__name__}: {text}"


def nothing_is_lost_or_doubled(seen: Evidence) -> Iterator[str]:
    """Every acknowledged start made one run, and no run is there that nobody asked for."""
    by_id = Counter(record.id for record in seen.rows.runs.values() if record.id and record.origin_run_id is None)
    for story in seen.stories:
        if story.retry == "refused":
            yield f"{story.plan.name}: its retry after it had failed was refused"
        for run_id in story.run_ids:
            if run_id not in seen.rows.runs:
                yield f"{story.plan.name}: its run {run_id} was acknowledged and is not there"
    for name, count in by_id.items():
        if count > 1:
            yield f"{name}: {count} runs of one start"
    asked = frozenset().union(*map(seen.family, seen.stories)) if seen.stories else frozenset()
    for run_id in seen.rows.runs.keys() - asked:
        yield f"{run_id}: nobody asked for it"


def nothing_is_stuck(seen: Evidence) -> Iterator[str]:
    """Every run has ended, and nothing was given up."""
    for run_id, run in seen.rows.open_runs.items():
        why = f", {run.stall_reason}" if run.state is RunState.STALLED else f", waits {run.waits}"
        yield f"{run_id}: is still {run.state.name} with {len(seen.rows.mail.get(run_id, ()))} mails{why}"
    for story in seen.stories:
        if story.run_ids and not story.status:
            yield f"{story.plan.name}: no result for its user, {story.run_ids}"
    for letter in seen.dead_letters:
        yield f"dead letter: {letter}"


def every_run_came_to_what_its_program_says(seen: Evidence) -> Iterator[str]:
    """The result that the user saw is that of the reference; only an accepted cancel may end a run before."""
    for story in seen.stories:
        if not story.run_ids or not story.status:
            continue  # said elsewhere
        program = story.plan.program
        outcome = expected(repaired(program) if len(story.run_ids) > 1 else program)
        if story.status == "cancelled" and story.cancel not in ("accepted", "unknown"):
            yield f"{story.plan.name}: was cancelled, but its cancel was {story.cancel or 'never sent'}"
        elif story.status == "completed" and (outcome.failed or without_tokens(story.result) != outcome.value):
            yield f"{story.plan.name}: gave {without_tokens(story.result)}, its program says {outcome}"
        elif story.status not in ("completed", "cancelled") and (
            story.status != "failed" or not outcome.failed or f"{outcome.failed} fails for good" not in story.error
        ):
            yield f"{story.plan.name}: {story.status}, {story.error}; its program says {outcome}"


def accepted_cancels_took_effect(seen: Evidence) -> Iterator[str]:
    """A run whose cancel was accepted was asked to end: the request is in its journal."""
    for story in seen.stories:
        has_gone_on = story.cancel == "accepted" and story.status in ("completed", "failed")
        if has_gone_on and "cancel" not in _mail_kinds(seen.journals.get(story.run_ids[0], ())):
            yield f"{story.plan.name}: its cancel was accepted and never reached it"


def acknowledged_signals_arrived(seen: Evidence) -> Iterator[str]:
    """A signal that was acknowledged is in the journal of its run: consumed, or left over at its end."""
    for story in seen.stories:
        if story.run_ids and story.run_ids[0] not in seen.rows.open_runs:
            arrived = _signals(seen.journals.get(story.run_ids[0], ()))
            for name in story.sent:
                if not arrived[name]:
                    yield f"{story.plan.name}: signal {name} was acknowledged and never arrived"


def what_was_reached_was_executed(seen: Evidence) -> Iterator[str]:
    """The steps that the reference reaches were executed, no other; those of a cancelled run only if at all."""
    executed = _steps_by_run(seen.lines)
    for story in seen.stories:
        done = set().union(*(executed[run_id] for run_id in seen.family(story)))
        program = repaired(story.plan.program) if len(story.run_ids) > 1 else story.plan.program
        may, must = {effect.name for effect in effects(program)}, set(expected(program).reached)
        if story.status == "cancelled":
            must = set()
        else:
            may = must
        if story.run_ids and story.status and not must <= done <= may:
            yield f"{story.plan.name}: executed {sorted(done - may)} too many, {sorted(must - done)} not at all"


def results_are_of_executions(seen: Evidence) -> Iterator[str]:
    """Each result that a run returned was returned by an execution of its own step."""
    ended = {(line.step, line.token) for line in seen.lines if line.what == "ends"}
    for story in seen.stories:
        if story.status == "completed":
            for step, token in tokens_of(story.result):
                if (step, token) not in ended:
                    yield f"{story.plan.name}: no execution of {step} ended with {token}"


def no_finished_step_is_executed_again(seen: Evidence) -> Iterator[str]:
    """After the execution whose result is recorded no other begins, but for an earlier attempt of a worker cut off.

    Whoever lost its lease while it stood still may begin what it had been told to begin; all later attempts may not.
    """
    by_step = defaultdict[tuple[str, str], list[Line]](list)
    for line in seen.lines:
        by_step[seen.origin(line.run_id), line.step].append(line)
    for run_id, rows in seen.journals.items():
        for step, token in _tokens_of_results(rows).items():
            lines = by_step[seen.origin(run_id), step]
            for end in (line for line in lines if line.what == "ends" and line.token == token):
                for line in lines:
                    is_later = line.run_id != end.run_id or line.attempt >= end.attempt
                    if line.what == "begins" and line.at > end.at and is_later:
                        late = f"{line.at - end.at:.3f} s after attempt {end.attempt} of pid {end.pid} had ended"
                        yield f"{run_id}: pid {line.pid} began attempt {line.attempt} of {step} {late} with its result"


def keys_are_of_one_step(seen: Evidence) -> Iterator[str]:
    """All executions of a step have one idempotency key, also in a retry of its run, and no two steps share one."""
    steps, keys = defaultdict[str, set[tuple[str, str]]](set), defaultdict[tuple[str, str], set[str]](set)
    for line in seen.lines:
        first = seen.origin(line.run_id)
        steps[line.key].add((first, line.step))
        keys[first, line.step].add(line.key)
    for key, named in steps.items():
        if len(named) > 1:
            yield f"{key} was given to {sorted(named)}"
    for (run_id, step), given in keys.items():
        if len(given) > 1:
            yield f"{run_id}: {step} had the keys {sorted(given)}"


def executions_are_accounted_for(seen: Evidence) -> Iterator[str]:
    """A step is executed once for each recorded attempt, and once more at most for each lease that its run lost."""
    recorded = {run_id: _attempts(rows) for run_id, rows in seen.journals.items()}
    for (run_id, step), count in ledger.executions(seen.lines).items():
        attempts = recorded.get(run_id, Counter[str]())[step]
        leases = max((row.epoch for row in seen.journals.get(run_id, ())), default=1)
        if count > attempts + leases - 1:
            yield f"{run_id}: {step} was executed {count} times, {attempts} attempts and {leases} leases"


def spans_are_whole(seen: Evidence) -> Iterator[str]:
    """No span without its parent, none there in two versions, and every closed run has its own."""
    first: dict[tuple[str, str], ReceivedSpan] = {}
    for span in seen.spans:
        known = first.setdefault((span.trace_id, span.span_id), span)
        if known.raw != span.raw:
            run_id = span.attributes.get("holdfast.run.id")
            yield f"span {span.name} {span.span_id} of {run_id} is there in two versions"
    is_open = seen.rows.open_runs.keys()
    unfinished = {span.trace_id for span in first.values() if span.attributes.get("holdfast.run.id") in is_open}
    for span in first.values():
        is_orphan = span.parent_id and (span.trace_id, span.parent_id) not in first and span.name != "late result"
        if is_orphan and span.trace_id not in unfinished:
            yield f"span {span.name} of {span.attributes.get('holdfast.run.id')} has no parent"
    ended = {
        span.attributes.get("holdfast.run.id")
        for span in first.values()
        if span.attributes.get("holdfast.run.status", "running") != "running"
    }
    for result in seen.rows.results:
        if result.run_id not in ended:
            yield f"{result.run_id}: is {result.status.name} and has no span that says so"


CHECKERS_OF_A_RUN: tuple[Checker, ...] = (
    the_rows_are_sound,
    nothing_is_lost_or_doubled,
    nothing_is_stuck,
    every_run_came_to_what_its_program_says,
    accepted_cancels_took_effect,
    acknowledged_signals_arrived,
    what_was_reached_was_executed,
    results_are_of_executions,
    no_finished_step_is_executed_again,
    keys_are_of_one_step,
    executions_are_accounted_for,
    spans_are_whole,
)


def violations(seen: Evidence) -> list[str]:
    """A sentence for everything that does not hold."""
    return [f"{checker.__name__}: {text}" for checker in CHECKERS_OF_A_RUN for text in checker(seen)]


def why_invalid(seen: Evidence) -> str:
    """Why a run proves nothing, or an empty text."""
    unknown = sum(call.answer == "unknown" for call in seen.calls)
    if not seen.calls or unknown > FAILED_SHARE_MAX * len(seen.calls):
        return f"{unknown} of {len(seen.calls)} calls had no answer: the faults were too many to prove anything"
    return ""


def _families(runs: Mapping[str, RunRow]) -> dict[str, frozenset[str]]:
    below = defaultdict[str, set[str]](set)
    for run_id, record in runs.items():
        for above in (record.parent_run_id, record.origin_run_id):
            if above:
                below[above].add(run_id)

    def all_below(run_id: str) -> frozenset[str]:
        return frozenset([run_id]).union(*map(all_below, below[run_id]))

    return {run_id: all_below(run_id) for run_id in runs}


def _steps_by_run(lines: Sequence[Line]) -> defaultdict[str, set[str]]:
    found = defaultdict[str, set[str]](set)
    for line in lines:
        found[line.run_id].add(line.step)
    return found


def _mails(rows: Sequence[journal_pb2.JournalRow]) -> Iterator[journal_pb2.Mail]:
    for row in rows:
        for entry in row.entries:
            kind = entry.WhichOneof("body")
            if kind in ("mail_consumed", "mail_undelivered"):
                yield getattr(entry, kind).mail


def _mail_kinds(rows: Sequence[journal_pb2.JournalRow]) -> set[str]:
    return {str(mail.WhichOneof("body")) for mail in _mails(rows)}


def _signals(rows: Sequence[journal_pb2.JournalRow]) -> Counter[str]:
    return Counter(mail.signal.name for mail in _mails(rows) if mail.HasField("signal"))


def _numbers(rows: Sequence[journal_pb2.JournalRow]) -> dict[int, str]:
    return {
        entry.step_scheduled.number: entry.step_scheduled.step_id
        for row in rows
        for entry in row.entries
        if entry.HasField("step_scheduled")
    }


def _tokens_of_results(rows: Sequence[journal_pb2.JournalRow]) -> dict[str, str]:
    """The token of the execution whose result is recorded, by step; see `flows.py` for where it is."""
    names, found = _numbers(rows), dict[str, str]()
    for row in rows:
        for entry in row.entries:
            if entry.HasField("step_completed"):
                done: journal_pb2.StepCompleted | journal_pb2.StepResult = entry.step_completed
            elif entry.HasField("mail_consumed") and entry.mail_consumed.mail.HasField("step_result"):
                done = entry.mail_consumed.mail.step_result
            else:
                continue
            if done.number in names and done.HasField("result"):
                found[names[done.number]] = done.result.data[1 : 1 + TOKEN_LENGTH].decode()
    return found


def _attempts(rows: Sequence[journal_pb2.JournalRow]) -> Counter[str]:
    """How many attempts of each step are recorded, by their start or by their end, whichever are more."""
    names, started, ended = _numbers(rows), Counter[str](), Counter[str]()
    for row in rows:
        for entry in row.entries:
            kind = entry.WhichOneof("body") or ""
            body = getattr(entry, kind)
            if kind == "attempt_started" or (kind == "step_scheduled" and body.started):
                started[names[body.number]] += 1
            elif kind in ("mail_consumed", "mail_undelivered") and body.mail.HasField("step_result"):
                ended[names[body.mail.step_result.number]] += len(body.mail.step_result.attempts)
            elif kind == "step_cancelled":
                ended[names[body.number]] += max(len(body.attempts), 1)
            elif kind in STEP_ENDS or kind == "attempt_ended":
                ended[names[body.number]] += 1
    return started | ended


def journal_text(rows: Sequence[JournalRow]) -> str:
    """A journal to read."""
    return "\n".join(str(journal_message(row)) for row in rows)
