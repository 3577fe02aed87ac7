"""Histories of the runs of one id: which have an order, and which have none."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.chaos.courier_model import (
    ALREADY_CLOSED,
    ALREADY_STARTED,
    CANCELLED,
    COMPLETED,
    CONFLICT,
    FAILED,
    NOT_FOUND,
    NOT_RETRYABLE,
    OPEN,
    TERMINATED,
    Answer,
    Cancel,
    CourierModel,
    Look,
    Question,
    Retry,
    Runs,
    Seen,
    Signal,
    Start,
    Started,
    Terminate,
    ended,
    run_of,
)
from tests.chaos.linearizability import (
    Operation,
    TooMuchAtOnce,
    check_linearizable,
    refutations,
)

UNKNOWN = object()
A, B, C = (run_of(name) for name in "abc")
MADE_A = (Start("a"), Started(A, attached=False))
FAILED_A = [MADE_A, (Signal("", "q1", "fail-1"), True), (Look(), Seen(A, FAILED))]

Step = tuple[Question, Answer | object]


def in_turn(*steps: Step | Sequence[Step]) -> list[Operation]:
    """Steps one after the other; those in a list overlap. What is UNKNOWN has no answer."""
    history = []
    for turn, step in enumerate(steps):
        for place, (asked, answer) in enumerate(step if isinstance(step, list) else [step]):
            operation = Operation(f"c{place}", "order-1", asked, turn, turn + 0.5, answer)
            history.append(replace(operation, returned_at=None, answer=None) if answer is UNKNOWN else operation)
    return history


def has_order(*steps: Step | Sequence[Step]) -> bool:
    return not refutations(CourierModel(), in_turn(*steps))


ACCEPTED = {
    "a run is made, told something, and ended": [
        MADE_A,
        (Signal("", "q1", "hello"), True),
        (Look(), Seen(A, OPEN)),
        (Signal(A, "q2", "end-1"), True),
        (Look(A), Seen(A, COMPLETED, ("hello", "end-1"))),
    ],
    "of starts that overlap one makes the run": [
        [(Start("a"), Started(B, attached=True)), (Start("b"), Started(B, attached=False))],
        (Look(), Seen(B, OPEN)),
    ],
    "a repeat of a start that joined gets its answer after another run has the id": [
        MADE_A,
        (Start("b"), Started(A, attached=True)),
        (Terminate("", "q1"), True),
        (Start("c", reuse="new"), Started(C, attached=False)),
        (Start("b"), Started(A, attached=True)),
    ],
    "a start without an answer has happened": [(Start("a"), UNKNOWN), (Look(), Seen(A, OPEN))],
    "a start without an answer has not happened": [(Start("a"), UNKNOWN), (Look(), NOT_FOUND)],
    "a start without an answer happens late": [(Start("a"), UNKNOWN), (Look(), NOT_FOUND), (Look(), Seen(A, OPEN))],
    "a signal without an answer was lost": [
        MADE_A,
        (Signal("", "q1", "hello"), UNKNOWN),
        (Signal("", "q2", "end-1"), True),
        (Look(), Seen(A, COMPLETED, ("end-1",))),
    ],
    "a signal without an answer and its repeat are one": [
        MADE_A,
        (Signal("", "q1", "hello"), UNKNOWN),
        (Signal("", "q1", "hello"), True),
        (Signal("", "q2", "end-1"), True),
        (Look(), Seen(A, COMPLETED, ("hello", "end-1"))),
    ],
    "signals that overlap arrive in either order": [
        MADE_A,
        [(Signal("", "q1", "x"), True), (Signal("", "q2", "y"), True)],
        (Signal("", "q3", "end-1"), True),
        (Look(), Seen(A, COMPLETED, ("y", "x", "end-1"))),
    ],
    "the second of two that may come once is refused": [
        MADE_A,
        [(Signal("", "q1", "x", once=True), False), (Signal("", "q2", "y", once=True), True)],
        (Signal("", "q3", "end-1"), True),
        (Look(), Seen(A, COMPLETED, ("y", "end-1"))),
    ],
    "a closed run takes no signal but answers a repeat": [
        MADE_A,
        (Signal("", "q1", "end-1"), True),
        (Signal("", "q2", "late"), ALREADY_CLOSED),
        (Signal("", "q1", "end-1"), True),
        (Cancel("", "q3"), False),
    ],
    "a cancelled run ends when it likes": [
        MADE_A,
        (Cancel("", "q1"), True),
        (Look(), Seen(A, OPEN)),
        (Look(), Seen(A, CANCELLED)),
    ],
    "a retry continues a failed run with what it was sent": [
        *FAILED_A,
        (Retry("", "b"), Started(B, attached=False)),
        (Signal("", "q2", "end-1"), True),
        (Look(), Seen(B, COMPLETED, ("fail-1", "end-1"))),
        (Look(A), Seen(A, FAILED)),
    ],
    "a repeat of a retry gets its run": [
        *FAILED_A,
        (Retry("", "b"), UNKNOWN),
        (Look(), Seen(B, OPEN)),
        (Retry("", "b"), Started(B, attached=False)),
    ],
    "of retries that overlap one makes a run": [
        *FAILED_A,
        [(Retry(A, "b"), ALREADY_STARTED), (Retry("", "c"), Started(C, attached=False))],
    ],
    "a start that may retry continues a failed run, and joins a completed one": [
        *FAILED_A,
        (Start("b", reuse="retry_failed"), Started(B, attached=False)),
        (Signal("", "q2", "end-1"), True),
        (Look(), Seen(B, COMPLETED, ("fail-1", "end-1"))),
        (Start("c", reuse="retry_failed"), Started(B, attached=True)),
    ],
    "a key answers with its run for ever": [
        (Start("a", idempotency_key="k"), Started(A, attached=False)),
        (Terminate("", "q1"), True),
        (Start("b", reuse="new"), Started(B, attached=False)),
        (Start("c", reuse="new", idempotency_key="k"), Started(A, attached=True)),
    ],
    "other arguments are a conflict": [MADE_A, (Start("b", arguments="other"), CONFLICT)],
    "an open run is not retried": [MADE_A, (Retry("", "b"), NOT_RETRYABLE)],
    "a start that rejects meets an open run": [MADE_A, (Start("b", on_conflict="reject"), ALREADY_STARTED)],
}


REFUSED = {
    "a start that was acknowledged is lost": [MADE_A, (Look(), NOT_FOUND)],
    "a start is doubled": [MADE_A, (Start("b"), Started(B, attached=False))],
    "starts that overlap make two runs": [
        [(Start("a"), Started(A, attached=False)), (Start("b"), Started(B, attached=False))]
    ],
    "a repeat of a start makes another run": [MADE_A, (Start("a"), Started(B, attached=False))],
    "a key makes a second run": [
        (Start("a", idempotency_key="k"), Started(A, attached=False)),
        (Terminate("", "q1"), True),
        (Start("b", reuse="new", idempotency_key="k"), Started(B, attached=False)),
    ],
    "a run ends by itself and nobody asked": [MADE_A, (Look(), Seen(A, CANCELLED))],
    "a signal that was acknowledged is not received": [
        MADE_A,
        (Signal("", "q1", "hello"), True),
        (Signal("", "q2", "end-1"), True),
        (Look(), Seen(A, COMPLETED, ("end-1",))),
    ],
    "a signal is received twice": [
        MADE_A,
        (Signal("", "q1", "hello"), True),
        (Signal("", "q2", "end-1"), True),
        (Look(), Seen(A, COMPLETED, ("hello", "hello", "end-1"))),
    ],
    "signals change their order": [
        MADE_A,
        (Signal("", "q1", "x"), True),
        (Signal("", "q2", "y"), True),
        (Signal("", "q3", "end-1"), True),
        (Look(), Seen(A, COMPLETED, ("y", "x", "end-1"))),
    ],
    "two signals that may come once are both taken": [
        MADE_A,
        [(Signal("", "q1", "x", once=True), True), (Signal("", "q2", "y", once=True), True)],
    ],
    "a signal is lost in a retry": [
        *FAILED_A[:-1],
        (Signal("", "q2", "hello"), True),
        (Look(), Seen(A, FAILED)),
        (Retry("", "b"), Started(B, attached=False)),
        (Signal("", "q3", "end-1"), True),
        (Look(), Seen(B, COMPLETED, ("fail-1", "end-1"))),
    ],
    "a closed run is open again": [
        MADE_A,
        (Terminate("", "q1"), True),
        (Look(), Seen(A, OPEN)),
    ],
    "a closed run takes a signal": [MADE_A, (Terminate("", "q1"), True), (Signal("", "q2", "late"), True)],
    "a closed run is terminated": [MADE_A, (Terminate("", "q1"), True), (Terminate("", "q2"), True)],
    "a closed run changes": [
        MADE_A,
        (Cancel("", "q1"), True),
        (Look(), Seen(A, CANCELLED)),
        (Look(), Seen(A, TERMINATED)),
    ],
    "a failed run is retried twice at once": [
        *FAILED_A,
        [(Retry("", "b"), Started(B, attached=False)), (Retry(A, "c"), Started(C, attached=False))],
    ],
    "a failed run is retried while its retry is open": [
        *FAILED_A,
        (Retry("", "b"), Started(B, attached=False)),
        (Retry(A, "c"), Started(C, attached=False)),
    ],
    "a repeat of a retry is refused": [
        *FAILED_A,
        (Retry("", "b"), Started(B, attached=False)),
        (Retry("", "b"), NOT_RETRYABLE),
    ],
    "two runs of one id are open": [
        *FAILED_A,
        (Retry("", "b"), Started(B, attached=False)),
        (Look(), Seen(A, OPEN)),
    ],
    "a completed run is continued": [
        MADE_A,
        (Signal("", "q1", "end-1"), True),
        (Look(), Seen(A, COMPLETED, ("end-1",))),
        (Start("b", reuse="retry_failed"), Started(B, attached=False)),
    ],
    "a start is seen before anybody made it": [(Look(), Seen(A, OPEN)), MADE_A],
}


@pytest.mark.parametrize("steps", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_a_history_that_can_have_happened_is_accepted(steps: list[Step]) -> None:
    check_linearizable(CourierModel(), in_turn(*steps))


@pytest.mark.parametrize("steps", REFUSED.values(), ids=REFUSED.keys())
def test_a_history_that_cannot_have_happened_is_refused(steps: list[Step]) -> None:
    assert not has_order(*steps)


def test_each_key_is_refuted_by_itself_and_the_failure_shows_its_history() -> None:
    good = [replace(one, key="order-0") for one in in_turn(MADE_A, (Look(), Seen(A, OPEN)))]
    bad = in_turn(MADE_A, (Signal("", "q1", "late"), NOT_FOUND), (Look(), Seen(A, OPEN)))
    with pytest.raises(AssertionError) as failed:
        check_linearizable(CourierModel(), [*good, *bad])
    text = str(failed.value)
    assert "key order-1" in text
    assert "order-0" not in text
    assert ">    1.0000    1.5000 c0: signal the id late (q1) -> RUN_NOT_FOUND" in text
    assert "2.0000" not in text, "what came later says nothing"


def test_a_history_with_too_much_at_once_is_not_called_good() -> None:
    steps = [(Signal("", f"q{number}", f"w{number}"), True) for number in range(12)]
    history = in_turn(MADE_A, steps, (Signal("", "q", "end-1"), True))
    with pytest.raises(TooMuchAtOnce):
        refutations(CourierModel(), history, pairs_max=1_000)


# Random histories

EXAMPLES = settings(max_examples=60, deadline=None)


def random_history(seed: int, length: int = 25) -> list[Operation]:
    """What the model answers to random questions of three clients, each at a random instant of its call."""
    rng = random.Random(seed)
    model, state, history = CourierModel(), Runs(), []
    free_at = dict.fromkeys(("c1", "c2", "c3"), 0.0)
    effects = []
    for number in range(length):
        client = min(free_at, key=lambda name: free_at[name])
        began_at = free_at[client] + rng.random()
        effect_at, returned_at = sorted((began_at + 2 * rng.random(), began_at + 2 * rng.random()))
        free_at[client] = returned_at
        effects.append((effect_at, client, number, began_at, returned_at))
    for _, client, number, began_at, returned_at in sorted(effects):
        if rng.random() < 0.3:
            state = rng.choice([state, *ended(state)])
        asked = random_question(rng, state, number)
        answer, following = model.answered(state, asked)
        fate = rng.random()
        if fate < 0.1:  # no answer, and perhaps no effect
            history.append(Operation(client, "order-1", asked, began_at))
            state = following if fate < 0.05 else state
        else:
            history.append(Operation(client, "order-1", asked, began_at, returned_at, answer))
            state = following
    return history


def random_question(rng: random.Random, state: Runs, number: int) -> Question:
    to = rng.choice(["", *(run.run_id for run in state.runs)])
    name = f"s{rng.randrange(number + 1) if rng.random() < 0.2 else number}"
    match rng.choice(["start", "signal", "signal", "cancel", "terminate", "retry", "look"]):
        case "start":
            reuse, key = rng.choice(["attach", "new", "retry_failed"]), rng.choice(["", "", "k1", "k2"])
            return Start(name, rng.choice(["", "", "", "other"]), reuse, rng.choice(["attach", "reject"]), key)
        case "signal":
            word = f"{rng.choice(['word', 'word', 'fail', 'end'])}-{name}"
            return Signal(to, f"q{name}", word, rng.random() < 0.3)
        case "cancel":
            return Cancel(to, f"q{name}")
        case "terminate":
            return Terminate(to, f"t{name}")
        case "retry":
            return Retry(to, name)
        case _:
            return Look(to)


@EXAMPLES
@given(st.integers(0, 2**32))
def test_what_the_model_has_answered_is_accepted_however_it_overlaps(seed: int) -> None:
    check_linearizable(CourierModel(), random_history(seed))


@EXAMPLES
@given(st.integers(0, 2**32), st.data())
def test_a_look_at_what_never_was_is_refused_wherever_it_stands(seed: int, data: st.DataObject) -> None:
    history = random_history(seed)
    answered = [one for one in history if one.returned_at is not None]
    place = data.draw(st.sampled_from(answered))
    wrong = data.draw(
        st.sampled_from(
            [
                (Look(), Seen("run_00never", OPEN)),
                (Start("never"), Started("run_00another", attached=True)),
                (Retry("", "never"), Started("run_00another", attached=False)),
                (Look(), Seen(A, COMPLETED, ("never said", "end-1"))),
                (Signal("run_00never", "q", "word"), True),
            ]
        )
    )
    asked, answer = wrong
    false = Operation("liar", "order-1", asked, place.began_at, place.returned_at, answer)
    assert refutations(CourierModel(), [*history, false])


@EXAMPLES
@given(st.integers(0, 2**32))
def test_a_signal_that_is_missing_in_a_result_is_refused_whatever_else_has_happened(seed: int) -> None:
    history = random_history(seed)
    later = max(max(one.began_at, one.returned_at or 0) for one in history) + 1

    def told(*received: str) -> list[Operation]:
        steps = in_turn(
            (Terminate("", "z0"), UNKNOWN),
            (Start("z", reuse="new"), Started(run_of("z"), attached=False)),
            (Signal(run_of("z"), "z1", "kept"), True),
            (Signal(run_of("z"), "z2", "lost"), True),
            (Signal(run_of("z"), "z3", "end-z"), True),
            (Look(run_of("z")), Seen(run_of("z"), COMPLETED, received)),
        )
        return [
            replace(one, began_at=one.began_at + later, returned_at=one.returned_at and one.returned_at + later)
            for one in steps
        ]

    try:
        check_linearizable(CourierModel(), [*history, *told("kept", "lost", "end-z")])
    except TooMuchAtOnce:
        assume(False)  # so many calls without an answer that the checker says so itself
    assert refutations(CourierModel(), [*history, *told("kept", "end-z")])
