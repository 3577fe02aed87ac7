"""Random journals that a coordinator and its workers could have written: valid, with clocks that are a little off."""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from holdfast.api.v1 import journal_pb2
from holdfast.statuses import AttemptOutcome, ClosePolicy, RunStatus
from tests.support import written_journals as write

RETRYABLE = [AttemptOutcome.FAILED_RETRYABLE, AttemptOutcome.TIMED_OUT]
AGAIN = [AttemptOutcome.LOST, AttemptOutcome.HANDED_BACK]
PASSING = [0.0, 0.001, 0.004, 0.006, 0.5, 3.0, 40_000.0]
SKEW = [-0.004, 0.0, 0.0, 0.004]
BROKEN = write.failure("Broken", "it broke")


@dataclass
class _Step:
    state: str
    attempt: int = 0
    begun: float = 0.0


@dataclass
class _Run:
    draw: Any
    now: float = 0.0
    epoch: int = 1
    numbers: int = 0
    letters: int = 0
    steps: dict[int, _Step] = field(default_factory=dict)
    timers: dict[int, str] = field(default_factory=dict)
    parts: dict[int, tuple[float, int]] = field(default_factory=dict)
    begun: list[int] = field(default_factory=list)
    updates: set[int] = field(default_factory=set)
    children: set[int] = field(default_factory=set)
    is_halted: bool = False
    pending: list[write.Entry] = field(default_factory=list)
    done: list[tuple[int, list[write.Entry]]] = field(default_factory=list)

    def pick(self, choices: Any) -> Any:
        return self.draw(st.sampled_from(sorted(choices) if isinstance(choices, (set, dict)) else choices))

    def commit(self) -> None:
        if self.pending:
            self.done.append((self.epoch, self.pending))
            self.pending = []

    def commit_own(self, entry: write.Entry) -> None:
        """A row of the coordinator."""
        self.commit()
        self.done.append((0, [entry]))

    def letter(self, **body: Any) -> write.Entry:
        self.letters += 1
        return write.mail(self.now, self.letters, arrived=self.now + self.pick(SKEW), **body)

    def place(self) -> int:
        """A part of the code in which something is called: it has begun, and may have been left since."""
        return self.pick([0, *self.begun])

    # What may happen

    def do_schedule(self) -> None:
        self.numbers += 1
        how = self.pick(["begins", "waits", "queued"])
        entry = write.scheduled(
            self.now, self.numbers, self.pick("ab"), begins=how == "begins", queued=how == "queued", span=self.place()
        )
        self.pending.append(entry)
        state = {"begins": "running", "waits": "idle", "queued": "queued"}[how]
        self.steps[self.numbers] = _Step(state, int(how == "begins"), self.now)

    def do_step(self) -> None:
        if not self.steps:
            return
        number = self.pick(self.steps)
        step = self.steps[number]
        if self.pick([True, False, False, False]):
            self._cancel(number, step)
        elif step.state == "running":
            self._end_attempt(number, step)
        elif step.state == "queued":
            self.pending.append(self.letter(step_result=self._queued_result(number, step)))
            del self.steps[number]
        elif step.state == "alarm":
            self.pending.append(self.letter(retry_due={"number": number}))
            step.state = "idle"
        else:
            step.attempt += 1
            step.state, step.begun = "running", self.now
            self.pending.append(write.begins(self.now, number, step.attempt))

    def _cancel(self, number: int, step: _Step) -> None:
        record = self._record(step, AttemptOutcome.CANCELLED) if step.state == "running" else None
        queued = self._queued_result(number, step)["attempts"] if step.state == "queued" else ()
        self.pending.append(write.cancelled(self.now, number, record, queued))
        del self.steps[number]

    def _record(self, step: _Step, outcome: AttemptOutcome, **more: Any) -> write.Record:
        session = self.pick(["", "ses_1", "ses_2"])
        ended = self.now + self.pick(SKEW)
        return write.attempt(step.attempt, outcome, step.begun, ended, session=session, **more)

    def _end_attempt(self, number: int, step: _Step) -> None:
        how = self.pick(["completed", "failed", "retry", "alarm", "again"])
        if how == "completed":
            record = self._record(step, AttemptOutcome.COMPLETED)
            self.pending.append(write.completed(self.now, number, record))
            del self.steps[number]
        elif how == "failed":
            record = self._record(step, AttemptOutcome.FAILED_FINAL, failed=BROKEN)
            self.pending.append(write.failed(self.now, number, BROKEN, record))
            del self.steps[number]
        elif how == "again":
            self.pending.append(write.ended(self.now, number, self._record(step, self.pick(AGAIN))))
            step.state = "idle"
        else:
            record = self._record(step, self.pick(RETRYABLE), failed=BROKEN, retry=self.pick([0.0, 0.002, 7.0]))
            self.pending.append(write.ended(self.now, number, record, alarm=how == "alarm"))
            step.state = "alarm" if how == "alarm" else "idle"

    def _queued_result(self, number: int, step: _Step) -> dict[str, Any]:
        begun = step.begun + self.pick(SKEW)
        records = []
        for _ in range(self.draw(st.integers(0, 3))):
            step.attempt += 1
            ended = begun + self.pick(PASSING)
            retry = self.pick([None, 0.0, 1.0])
            outcome_of, eligible = self.pick(RETRYABLE + AGAIN), self.pick([None, begun - 1, begun, begun + 1])
            records.append(write.attempt(step.attempt, outcome_of, begun, ended, retry=retry, eligible=eligible))
            begun = ended + self.pick(SKEW)
        outcome: dict[str, Any] = {"result": {"data": b"1"}} if self.pick([True, False]) else {"failure": BROKEN}
        return {"number": number, "attempts": records, **outcome}

    def do_wait(self) -> None:
        if not self.timers or self.pick([True, False]):
            self.numbers += 1
            name, signal = self.pick([("", ""), ("soon", ""), ("", "a"), ("", "b")])
            self.timers[self.numbers] = signal
            self.pending.append(write.timer(self.now, self.numbers, 5, name, signal=signal, part=self.place()))
            return
        number = self.pick(self.timers)
        del self.timers[number]
        if self.pick([True, False]):
            self.pending.append(self.letter(timer={"number": number}))
        else:
            self.pending.append(write.timer_cancelled(self.now, number))

    def do_signal(self) -> None:
        name = self.pick("ab")
        if self.pick([True, False, False]):
            entry = self.letter(signal={"name": name})
            entry.mail_consumed.awaited_since.CopyFrom(write.moment(self.now - self.pick(PASSING)))
            self.pending.append(entry)
            return
        self.pending.append(self.letter(signal={"name": name}))
        waiting = [number for number, signal in self.timers.items() if signal == name]
        if waiting:
            del self.timers[waiting[0]]
            self.pending.append(write.timer_cancelled(self.now, waiting[0]))

    def do_child(self) -> None:
        if not self.children or self.pick([True, False]):
            self.numbers += 1
            self.children.add(self.numbers)
            policy = self.pick(list(ClosePolicy))
            run_id = f"run_child{self.numbers}"
            self.pending.append(write.child(self.now, self.numbers, "sub", run_id, policy=policy, span=self.place()))
            return
        number = self.pick(self.children)
        self.children.remove(number)
        if self.pick([True, False]):
            status = self.draw(st.integers(6, 11))
            self.pending.append(self.letter(child_closed={"number": number, "status": status}))
        else:
            self.pending.append(write.child_cancelled(self.now, number))

    def do_part(self) -> None:
        """Enters a part of the code inside any that is open, or leaves one; not always the innermost."""
        if not self.parts or self.pick([True, False]):
            self.numbers += 1
            inside = self.pick([0, *self.parts])
            self.parts[self.numbers] = (self.now + self.pick(SKEW), inside)
            return
        unbegun = [number for number in self.parts if number not in self.begun]
        if unbegun and self.pick([True, False]):
            number = self.pick(unbegun)
            began, inside = self.parts[number]
            self.begun.append(number)
            self.pending.append(write.part_began(began, self.now, number, "part", inside=inside))
            return
        number = self.pick(self.parts)
        began, inside = self.parts.pop(number)
        error = self.pick(["", "", "Broken"])
        self.pending.append(write.named_part(began, self.now, number, "part", inside=inside, error=error))

    def do_update(self) -> None:
        if not self.updates or self.pick([True, False]):
            self.pending.append(self.letter(update={"name": "a"}))
            self.updates.add(self.letters)
            return
        number = self.pick(self.updates)
        self.updates.remove(number)
        self.pending.append(write.answered(self.now, number, self.pick([None, BROKEN])))

    def do_halt(self) -> None:
        how = self.pick(["stalled", "paused", "resumed" if self.is_halted else "paused"])
        self.is_halted = how != "resumed"
        if how == "stalled":
            self.pending.append(write.stalled(self.now, "lost", "b1"))
            self.commit()
        else:
            self.commit_own(write.paused(self.now, "") if how == "paused" else write.resumed(self.now, "asked"))

    def do_new_lease(self) -> None:
        self.commit()
        self.epoch += 1

    def do_commit(self) -> None:
        self.commit()

    def close(self) -> None:
        status = self.pick([RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.TERMINATED])
        for number, step in list(self.steps.items()):
            if step.state == "queued" and self.pick([True, False]):
                self.letters += 1
                body = self._queued_result(number, step)
                self.pending.append(write.undelivered(self.now, self.letters, step_result=body))
        if self.pick([True, False]):
            self.commit()
            self.epoch = 0
        self.pending.append(write.closed(self.now + self.pick(SKEW), status))
        self.commit()


ACTIONS = [
    _Run.do_schedule,
    _Run.do_schedule,
    _Run.do_step,
    _Run.do_step,
    _Run.do_step,
    _Run.do_wait,
    _Run.do_signal,
    _Run.do_child,
    _Run.do_part,
    _Run.do_part,
    _Run.do_update,
    _Run.do_halt,
    _Run.do_new_lease,
    _Run.do_commit,
]


@st.composite
def closed_journals(draw: Any) -> list[journal_pb2.JournalRow]:
    """The rows of a closed run."""
    run = _Run(draw)
    for action in draw(st.lists(st.sampled_from(ACTIONS), max_size=30)):
        run.now += run.pick(PASSING)
        action(run)
    run.now += run.pick(PASSING)
    run.close()
    return write.rows(write.started(), *run.done)


NUMBERS = st.integers(-1, 2)
SECONDS = st.sampled_from([-1e10, -5.0, 0.0, 1.0, 2.0, 9e4, 2e11])
OUTCOMES = st.sampled_from(list(AttemptOutcome))
TEXTS = st.sampled_from(["", "signal ", "signal a", "x" * 5_000, "\x00"])


@st.composite
def _any_entry(draw: Any) -> write.Entry:
    number, second = draw(NUMBERS), 3.0
    record = write.attempt(draw(NUMBERS), draw(OUTCOMES), 1, 2, retry=draw(st.sampled_from([None, -1, 5])))
    for moment in (record.started_at, record.ended_at):
        moment.seconds += int(draw(SECONDS))
    if record.HasField("retry_delay"):
        record.retry_delay.seconds *= 10**18
    text = draw(TEXTS)
    entry = draw(
        st.sampled_from(
            [
                write.scheduled(second, number, text, begins=True),
                write.scheduled(second, number, text, queued=True, queue=text, step_id=text),
                write.begins(second, number, draw(NUMBERS)),
                write.ended(second, number, record, alarm=True),
                write.completed(second, number, record),
                write.failed(second, number, write.failure(text, text), record),
                write.cancelled(second, number, attempts=[record, record]),
                write.timer(second, number, 1, text),
                write.timer(second, number, 1, text, signal=text),
                write.named_part(draw(SECONDS) % 1e9, second, draw(NUMBERS), text, inside=number, error=text),
                write.named_part(second, second, 2**31 - 1, text, inside=number),
                write.part_began(draw(SECONDS) % 1e9, second, draw(NUMBERS), text, inside=number),
                write.paused(second, text),
                write.answered(second, number, write.failure(text, text)),
                write.answered(second, number),
                write.mail(second, number, update={"name": text}, trace=text),
                write.mail(second, number, awaited=draw(SECONDS) % 1e9, signal={"name": text}),
                write.timer_cancelled(second, number),
                write.child(second, number, text, text),
                write.child_cancelled(second, number),
                write.stalled(second, text, text),
                write.resumed(second, text),
                write.mail(second, 10**18, signal={"name": text}, trace=text),
                write.mail(second, number, timer={"number": number}),
                write.mail(second, number, retry_due={"number": number}),
                write.mail(second, number, step_result={"number": number, "attempts": [record, record]}),
                write.mail(second, number, child_closed={"number": number, "status": 99}),
                write.undelivered(second, number, step_result={"number": number, "attempts": [record]}),
                write.Entry(),
            ]
        )
    )
    entry.at.seconds += int(draw(SECONDS))
    return entry


@st.composite
def broken_journals(draw: Any) -> list[journal_pb2.JournalRow]:
    """Rows that the coordinator would store, since it does not look into entries, with any nonsense in them."""
    entries = draw(st.lists(_any_entry(), min_size=1, max_size=12))
    cut = draw(st.integers(0, len(entries)))
    last = [*entries[cut:], write.closed(5, RunStatus.COMPLETED), *entries[:1]]
    return write.rows(write.started(), *([(1, entries[:cut])] if cut else []), (2, last), (0, entries[:1]))
