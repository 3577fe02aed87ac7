"""What clients may see of the runs of one business id, when nothing overlaps: the model for histories of couriers.

A courier (flows_courier) receives words until one ends it: "end..." completes it with all words so far, "fail..." is a
step that fails in the first run that meets the word and succeeds in a run that continues it. So every acknowledged
signal shows in a result. What a run does by itself, which is only to end, may happen at any time: every question may be
answered before or after it. Rules: api.md, docs/GUARANTEES.md, and starts.py in its order. Pure.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, assert_never

OPEN = "open"
COMPLETED, FAILED, CANCELLED, TERMINATED = "completed", "failed", "cancelled", "terminated"
END, FAIL = "end", "fail"
"""How words begin that end a courier."""


ID_CHARACTERS = 6
"""How much of an id a failure shows."""


# What is asked. `to` is a run id, or "" for the run that the business id stands for.


@dataclass(frozen=True, slots=True)
class Start:
    start_id: str
    arguments: str = ""
    reuse: str = "attach"
    on_conflict: str = "attach"
    idempotency_key: str = ""

    def __str__(self) -> str:
        words = [self.arguments, self.reuse, self.on_conflict, self.idempotency_key]
        return f"start {' '.join(filter(None, words))} as {_short(self.start_id)}"


@dataclass(frozen=True, slots=True)
class Signal:
    to: str
    request_id: str
    word: str
    once: bool = False

    def __str__(self) -> str:
        return f"signal {_short(self.to)} {self.word}{' once' if self.once else ''} ({self.request_id})"


@dataclass(frozen=True, slots=True)
class Cancel:
    to: str
    request_id: str

    def __str__(self) -> str:
        return f"cancel {_short(self.to)} ({self.request_id})"


@dataclass(frozen=True, slots=True)
class Terminate:
    to: str
    request_id: str

    def __str__(self) -> str:
        return f"terminate {_short(self.to)} ({self.request_id})"


@dataclass(frozen=True, slots=True)
class Retry:
    to: str
    start_id: str

    def __str__(self) -> str:
        return f"retry {_short(self.to)} as {_short(self.start_id)}"


@dataclass(frozen=True, slots=True)
class Look:
    """What the run is, and what it returned."""

    to: str = ""

    def __str__(self) -> str:
        return f"look at {_short(self.to)}"


Question = Start | Signal | Cancel | Terminate | Retry | Look


# What is answered, beside True and False.


class Started(NamedTuple):
    run_id: str
    attached: bool

    def __str__(self) -> str:
        return f"{'joined' if self.attached else 'made'} {_short(self.run_id)}"


class Seen(NamedTuple):
    """status: OPEN, or how it closed. words: the result of a completed run."""

    run_id: str
    status: str
    words: tuple[str, ...] | None = None

    def __str__(self) -> str:
        return f"{_short(self.run_id)} {self.status}{'' if self.words is None else f' {list(self.words)}'}"


class Refused(NamedTuple):
    """reason: as in ErrorInfo."""

    reason: str

    def __str__(self) -> str:
        return self.reason


Answer = Started | Seen | Refused | bool

NOT_FOUND = Refused("RUN_NOT_FOUND")
ALREADY_CLOSED = Refused("RUN_ALREADY_CLOSED")
ALREADY_STARTED = Refused("RUN_ALREADY_STARTED")
NOT_RETRYABLE = Refused("RUN_NOT_RETRYABLE")
CONFLICT = Refused("RUN_CONFLICT")
START_ID_TAKEN = Refused("INVALID_REQUEST")


class Run(NamedTuple):
    """One run.

    words: the signals it was sent, in order, those of the run that it continues first. got_over: failing words that an
    earlier run has failed with. maybe_met: failing words that an earlier run may have met. result: once completed.
    requests: with their answers; a repeat by the id goes to the run that has it now, which does not know them.
    """

    run_id: str
    arguments: str
    status: str = OPEN
    words: tuple[str, ...] = ()
    got_over: frozenset[str] = frozenset()
    maybe_met: frozenset[str] = frozenset()
    is_cancelling: bool = False
    once_taken: bool = False
    requests: frozenset[tuple[str, bool]] = frozenset()
    result: tuple[str, ...] | None = None


class Fate(NamedTuple):
    """What has become of a run in the end: how it closed or OPEN, and all words it was sent, in their order."""

    status: str
    words: tuple[str, ...]

    def allows(self, run: Run) -> bool:
        """False when this run cannot come to that any more."""
        return run.status in (OPEN, self.status) and run.words == self.words[: len(run.words)]


class Runs(NamedTuple):
    """All runs of one id.

    holder: the run that the id stands for. starts: (start id, arguments, answer). keys: (idempotency key, its run).
    """

    holder: str = ""
    runs: tuple[Run, ...] = ()
    starts: frozenset[tuple[str, str, Started]] = frozenset()
    keys: frozenset[tuple[str, str]] = frozenset()

    def __str__(self) -> str:
        keys = {key: _short(run_id) for key, run_id in self.keys}
        runs = [f"{_short(one.run_id)} {one.status} {list(one.words)}" for one in self.runs]
        return f"{_short(self.holder)} has the id; keys {keys}; {', '.join(runs)}"

    def run(self, to: str) -> Run | None:
        """The run that a question is about."""
        return next((one for one in self.runs if one.run_id == (to or self.holder)), None)

    def with_run(self, run: Run) -> "Runs":
        """With a run as it is now."""
        return self._replace(runs=tuple(run if one.run_id == run.run_id else one for one in self.runs))


def _short(name: str) -> str:
    return name[-ID_CHARACTERS:] or "the id"


def run_of(start_id: str) -> str:
    """The run that a start id makes, in a database with one cell."""
    return f"run_00{start_id}"


class CourierModel:
    """See the module. Implements linearizability.Model.

    fates: of all runs that were ever made, where that is known. They have to come true, and orders that lead elsewhere
    need not be followed: without them every word that may or may not have arrived doubles the work.
    """

    def __init__(self, run_of: Callable[[str], str] = run_of, *, fates: Mapping[str, Fate] | None = None) -> None:
        self._run_of = run_of
        self._fates = fates

    def initial(self) -> Runs:
        """No run."""
        return Runs()

    def after(self, state: Runs, asked: object, answer: object) -> Iterator[Runs]:
        """See linearizability.Model. A question without an answer that changes nothing has not happened."""
        for now in (state, *filter(self._may_be, ended(state))):
            given, following = self.answered(now, asked)
            if (given == answer or (answer is None and following != now)) and self._may_be(following):
                yield following

    def answered(self, state: Runs, asked: object) -> tuple[Answer, Runs]:
        """The answer to a question in this state, and the state that it leaves."""
        match asked:
            case Start():
                return self._start(state, asked)
            case Retry():
                return self._retry(state, asked)
            case Signal() | Cancel() | Terminate() | Look():
                run = state.run(asked.to)
                if run is None:
                    return NOT_FOUND, state
                if isinstance(asked, Look):
                    return Seen(run.run_id, run.status, run.result), state
                given, changed = _signalled(run, asked) if isinstance(asked, Signal) else _asked_to_end(run, asked)
                return given, state.with_run(changed)
            case _:
                raise AssertionError(f"{asked!r} is no question")

    def _may_be(self, state: Runs) -> bool:
        """False when the fates do not allow the run that has the id: no other changes."""
        run = state.run(state.holder)
        if self._fates is None or run is None:
            return True
        fate = self._fates.get(run.run_id)
        return fate is not None and fate.allows(run)

    def _start(self, state: Runs, asked: Start) -> tuple[Answer, Runs]:
        for start_id, arguments, earlier in state.starts:
            if start_id == asked.start_id:
                return (earlier if arguments == asked.arguments else START_ID_TAKEN), state
        of_key = next((run_id for key, run_id in state.keys if key == asked.idempotency_key), "")
        holder = state.run(of_key)
        if holder is None:
            return self._made(state, asked, Run(self._run_of(asked.start_id), asked.arguments))
        differs = holder.arguments != asked.arguments
        if not of_key:
            if holder.status == OPEN and asked.on_conflict == "reject":
                return ALREADY_STARTED, state
            if holder.status != OPEN and asked.reuse == "new":
                return self._made(state, asked, Run(self._run_of(asked.start_id), asked.arguments))
            may_retry = asked.reuse == "retry_failed" and holder.status not in (OPEN, COMPLETED)
            if may_retry and not differs:
                return self._made(state, asked, _continuing(holder, self._run_of(asked.start_id)))
        if differs:
            return CONFLICT, state
        return self._remembered(state, asked, Started(holder.run_id, attached=True))

    def _retry(self, state: Runs, asked: Retry) -> tuple[Answer, Runs]:
        run = state.run(asked.to)
        if run is None:
            return NOT_FOUND, state
        for start_id, _, earlier in state.starts:
            if start_id == asked.start_id:
                return earlier, state
        if run.status in (OPEN, COMPLETED):
            return NOT_RETRYABLE, state
        holder = state.run(state.holder)
        if holder is not None and holder.status == OPEN:
            return ALREADY_STARTED, state
        return self._made(state, asked, _continuing(run, self._run_of(asked.start_id)))

    def _made(self, state: Runs, asked: Start | Retry, run: Run) -> tuple[Answer, Runs]:
        state = state._replace(holder=run.run_id, runs=(*state.runs, run))
        return self._remembered(state, asked, Started(run.run_id, attached=False))

    def _remembered(self, state: Runs, asked: Start | Retry, answer: Started) -> tuple[Answer, Runs]:
        run = state.run(answer.run_id)
        assert run is not None
        keys = state.keys
        if isinstance(asked, Start) and asked.idempotency_key:
            keys |= {(asked.idempotency_key, run.run_id)}
        return answer, state._replace(starts=state.starts | {(asked.start_id, run.arguments, answer)}, keys=keys)


def ended(state: Runs) -> Iterator[Runs]:
    """The states in which the open run, if there is one, has ended by itself."""
    run = state.run(state.holder)
    if run is None or run.status != OPEN:
        return
    for place, word in enumerate(run.words):
        if word.startswith(END):
            yield state.with_run(run._replace(status=COMPLETED, result=run.words[: place + 1]))
            break
        if word.startswith(FAIL) and word not in run.got_over:
            yield state.with_run(run._replace(status=FAILED, got_over=run.got_over | {word}))
            if word not in run.maybe_met:
                break
    if run.is_cancelling:
        yield state.with_run(run._replace(status=CANCELLED))


def _continuing(run: Run, run_id: str) -> Run:
    failing = frozenset(word for word in run.words if word.startswith(FAIL))
    return Run(run_id, run.arguments, OPEN, run.words, run.got_over, failing - run.got_over)


def _signalled(run: Run, asked: Signal) -> tuple[Answer, Run]:
    for request_id, earlier in run.requests:
        if request_id == asked.request_id:
            return earlier, run
    if asked.once and run.once_taken:
        return False, run
    if run.status != OPEN:
        return ALREADY_CLOSED, run
    requests = run.requests | {(asked.request_id, True)}
    return True, run._replace(
        words=(*run.words, asked.word), requests=requests, once_taken=run.once_taken or asked.once
    )


def _asked_to_end(run: Run, asked: Cancel | Terminate) -> tuple[Answer, Run]:
    for request_id, earlier in run.requests:
        if request_id == asked.request_id:
            return earlier, run
    if run.status != OPEN:
        return False, run
    run = run._replace(requests=run.requests | {(asked.request_id, True)})
    match asked:
        case Cancel():
            return True, run._replace(is_cancelling=True)
        case Terminate():
            return True, run._replace(status=TERMINATED)
        case _:
            assert_never(asked)
