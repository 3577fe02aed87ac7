"""Random workflow programs as data: what a run does, and what its result and its effects may be. Pure.

A program is a tree. `flows.py` runs it as a workflow; `expected` says from the tree alone what must come out. Every
step has a name of its own in its plan, by which the ledger counts its executions.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, Field, JsonValue

Harm = Literal["", "kills", "exits", "segfaults", "blocks"]
HARMS: tuple[Harm, ...] = ("kills", "exits", "segfaults", "blocks")
"""What a step can do to its worker: SIGKILL, leave the process, read where nothing is, hold the loop for a while."""
DEPTH_MAX = 3
LARGE_BYTES = (60_000, 400_000, 1_500_000)
"""Sizes of large results of steps."""


class Effect(BaseModel):
    """A step. Its result is `size` bytes long; the workflow keeps a short text of it.

    fails: how many attempts raise before one returns. fatal: it raises for good. broken: it raises for good until the
    run is repaired from outside. does: what it does to its worker at its first execution.
    """

    kind: Literal["effect"] = "effect"
    name: str
    how: Literal["inline", "plain", "queued"] = "inline"
    fails: int = 0
    fatal: bool = False
    broken: bool = False
    size: int = 0
    takes_ms: int = 0
    does: Harm = ""


class Sleep(BaseModel):
    """A durable sleep."""

    kind: Literal["sleep"] = "sleep"
    ms: int


class Receive(BaseModel):
    """Waits for the signal of this name, which is sent from outside, once."""

    kind: Literal["receive"] = "receive"
    name: str


class Deadline(BaseModel):
    """Waits for a signal that never comes, for so long."""

    kind: Literal["deadline"] = "deadline"
    ms: int


class Several(BaseModel):
    """Parts in order, in asyncio.gather or in a TaskGroup."""

    kind: Literal["several"] = "several"
    how: Literal["sequence", "gather", "group"]
    parts: "list[Program]"


class Child(BaseModel):
    """A run of its own, awaited."""

    kind: Literal["child"] = "child"
    name: str
    body: "Program"


class Guarded(BaseModel):
    """A body whose failure, or whose cancellation, is compensated by steps in reverse order, shielded."""

    kind: Literal["guarded"] = "guarded"
    body: "Program"
    undo: list[Effect]


Program = Annotated[
    Effect | Sleep | Receive | Deadline | Several | Child | Guarded,
    Field(discriminator="kind"),
]

for _model in (Several, Child, Guarded):
    _model.model_rebuild()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a program comes to when nothing outside interferes.

    value: its result; of no meaning when `failed`. failed: the name of the step that fails it. reached: the names of
    the steps that are executed, in this run or in its children.
    """

    value: JsonValue
    failed: str
    reached: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """A run to start, and what is done to it meanwhile.

    signals: names, and after how long each is sent. cancel_after: None when it is not cancelled. is_repaired: it fails
    at a broken step, is repaired and retried.
    """

    name: str
    program: Program
    signals: tuple[tuple[str, float], ...] = ()
    cancel_after: float | None = None
    is_repaired: bool = False


class Generator:
    """Makes plans from a source of randomness; the same seed makes the same plans."""

    def __init__(self, source: random.Random, *, harmful: bool = True) -> None:
        """harmful: whether steps may kill or block their worker."""
        self._random = source
        self._harmful = harmful
        self._names = 0
        self._runs = 0
        self._signals: list[str] = []

    def plan(self) -> Plan:
        """The next plan."""
        self._runs += 1
        self._names = 0
        self._signals = []
        rnd = self._random
        program = self._several(0)
        is_repaired = rnd.random() < 0.1
        if is_repaired:
            broken = Effect(name=self._name(), broken=True, how=self._placement())
            program = Several(how="sequence", parts=[program, broken, self._effect()])
        signals = tuple((name, rnd.uniform(0.0, 3.0)) for name in self._signals)
        cancel_after = rnd.uniform(0.0, 2.0) if not is_repaired and rnd.random() < 0.1 else None
        return Plan(f"run-{self._runs}", program, signals, cancel_after, is_repaired)

    def _program(self, depth: int) -> Program:
        makers = [self._effect, self._effect, self._effect, self._sleep, self._receive, self._deadline]
        if depth < DEPTH_MAX:
            makers += [
                lambda: self._several(depth + 1),
                lambda: self._child(depth + 1),
                lambda: self._guarded(depth + 1),
            ]
        return self._random.choice(makers)()

    def _several(self, depth: int) -> Several:
        how = self._random.choice(("sequence", "gather", "group"))
        return Several(how=how, parts=[self._program(depth) for _ in range(self._random.randint(2, 4))])

    def _effect(self) -> Effect:
        rnd = self._random
        does: Harm = ""
        if self._harmful and rnd.random() < 0.005:
            does = rnd.choice(HARMS)
        return Effect(
            name=self._name(),
            how=self._placement(),
            fails=rnd.randint(1, 3) if rnd.random() < 0.2 else 0,
            size=rnd.choice(LARGE_BYTES) if rnd.random() < 0.03 else rnd.randint(0, 200),
            takes_ms=rnd.choice((0, 0, 5, 50, 500)),
            does=does,
        )

    def _placement(self) -> Literal["inline", "plain", "queued"]:
        return self._random.choice(("inline", "inline", "plain", "queued"))

    def _sleep(self) -> Sleep:
        return Sleep(ms=self._random.choice((1, 20, 200, 1_500)))

    def _receive(self) -> Receive:
        self._signals.append(f"signal-{len(self._signals) + 1}")
        return Receive(name=self._signals[-1])

    def _deadline(self) -> Deadline:
        return Deadline(ms=self._random.choice((10, 100, 1_000)))

    def _child(self, depth: int) -> Child:
        name = self._name()
        # A signal goes to the run of the plan: a child waits for none.
        before, self._signals = self._signals, []
        body = _without_signals(self._several(depth))
        self._signals = before
        return Child(name=name, body=body)

    def _guarded(self, depth: int) -> Guarded:
        body: Program = self._several(depth)
        if self._random.random() < 0.6:
            fatal = Effect(name=self._name(), fatal=True, how=self._placement())
            last: Program = fatal if self._random.random() < 0.7 else Child(name=self._name(), body=fatal)
            body = Several(how="sequence", parts=[body, last])
        return Guarded(body=body, undo=[self._effect() for _ in range(self._random.randint(1, 2))])

    def _name(self) -> str:
        self._names += 1
        return f"s{self._names}"


def payload_of(signal: str) -> str:
    """What is sent with a signal."""
    return f"payload of {signal}"


def result_of(effect: Effect) -> str:
    """What a workflow keeps of the result of a step."""
    return f"{effect.name}/{effect.size}"


def expected(program: Program) -> Outcome:
    """See Outcome."""
    match program:
        case Effect():
            failed = program.name if program.fatal or program.broken else ""
            return Outcome(result_of(program), failed, (program.name,))
        case Sleep():
            return Outcome("slept", "", ())
        case Receive():
            return Outcome(payload_of(program.name), "", ())
        case Deadline():
            return Outcome("timed out", "", ())
        case Child():
            return expected(program.body)
        case Guarded():
            return _expected_guarded(program)
        case Several():
            return _expected_several(program)


def repaired(program: Program) -> Program:
    """The same program after its broken steps have been repaired."""
    if isinstance(program, Several):
        return program.model_copy(update={"parts": [repaired(part) for part in program.parts]})
    if isinstance(program, Effect):
        return program.model_copy(update={"broken": False})
    return program


def effects(program: Program) -> Iterator[Effect]:
    """All steps of a program, also those that may not be reached."""
    match program:
        case Effect():
            yield program
        case Several():
            for part in program.parts:
                yield from effects(part)
        case Child():
            yield from effects(program.body)
        case Guarded():
            yield from effects(program.body)
            yield from program.undo


def _expected_several(program: Several) -> Outcome:
    """Only the last part of a sequence ever fails, so what is reached does not depend on who is first."""
    outcomes: list[Outcome] = []
    for part in program.parts:
        outcomes.append(expected(part))
        if outcomes[-1].failed:
            assert program.how == "sequence", "a failure beside others leaves open what they have done"
            break
    return Outcome([one.value for one in outcomes], outcomes[-1].failed, _reached(outcomes))


def _expected_guarded(program: Guarded) -> Outcome:
    body = expected(program.body)
    if not body.failed:
        return body
    undone = [expected(effect) for effect in reversed(program.undo)]
    return Outcome(["undone", *(one.value for one in undone)], "", _reached([body, *undone]))


def _reached(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    return tuple(name for one in outcomes for name in one.reached)


def _without_signals(program: Program) -> Program:
    match program:
        case Receive():
            return Sleep(ms=20)
        case Several():
            return program.model_copy(update={"parts": [_without_signals(part) for part in program.parts]})
        case Child() | Guarded():
            return program.model_copy(update={"body": _without_signals(program.body)})
        case _:
            return program
