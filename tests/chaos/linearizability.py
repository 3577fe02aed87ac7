"""Checks that a history of overlapping operations could have happened one after the other.

The way of Wing and Gong with the memory of Lowe ("just-in-time linearization"): the history is read in the order of its
instants, and what is carried on is the set of all pairs (state of the model, operations that have taken effect and not
returned yet). An operation takes effect no earlier than something returns that may have needed it. Where no pair is
left, there is no order, and the operation that returned there says so. An operation without an answer may take effect
at any time after it was begun, or never.

Histories are taken apart by key first, so the model must treat keys as independent. Pure: no clock, no randomness.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Generic, Protocol, TypeVar

State = TypeVar("State", bound=Hashable)
Asked = TypeVar("Asked", contravariant=True)
"""What an operation asks for."""
Answered = TypeVar("Answered", contravariant=True)
SHOWN = 40
"""Operations that a failure shows: the last ones before it."""
PAIRS_MAX = 200_000
"""Pairs that are looked at for one return, before the check gives up: the history has too much at once."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of one client. Instants are of one clock; returned_at and answer are None when no answer has come."""

    client: str
    key: str
    asked: object
    began_at: float
    returned_at: float | None = None
    answer: object = None

    def __str__(self) -> str:
        until = "?" if self.returned_at is None else f"{self.returned_at:.4f}"
        answer = "no answer" if self.returned_at is None else self.answer
        return f"{self.began_at:9.4f} {until:>9} {self.client}: {self.asked} -> {answer}"


class Model(Protocol[State]):
    """What operations do when nothing overlaps. Every state and every question is a value that can be hashed."""

    def initial(self) -> State:
        """The state before a history."""

    def after(self, state: State, asked: object, answer: object) -> Iterable[State]:
        """All states in which the question can leave this one with this answer; with any when the answer is None."""


@dataclass(frozen=True, slots=True)
class Refuted(Generic[State]):
    """Why a history has no order. at: the operation whose answer fits nowhere. states: those possible before it."""

    at: Operation
    states: Sequence[State]
    history: Sequence[Operation]

    def __str__(self) -> str:
        before = [one for one in self.history if one.began_at <= (self.at.returned_at or one.began_at)]
        left_out, before = before[:-SHOWN], before[-SHOWN:]
        lines = [f"  {len(left_out):,} earlier ones"] if left_out else []
        lines += [f"{'>' if one is self.at else ' '} {one}" for one in before]
        possible = [f"    {state}" for state in self.states[:3]]
        more = len(self.states) - len(possible)
        return "\n".join(
            [
                f"key {self.at.key}: no order of these explains the answer at >",
                *lines,
                "  possible before it:",
                *possible,
            ]
            + ([f"    and {more:,} more"] if more else [])
        )


class TooMuchAtOnce(Exception):
    """The history cannot be checked: so many of its operations overlap that nobody can look at all their orders."""


def refutations(
    model: Model[State], history: Sequence[Operation], *, pairs_max: int = PAIRS_MAX
) -> list[Refuted[State]]:
    """Of each key the first answer that no order explains. Raises TooMuchAtOnce."""
    by_key: dict[str, list[Operation]] = {}
    for operation in history:
        by_key.setdefault(operation.key, []).append(operation)
    found = (_refutation(model, by_key[key], pairs_max) for key in sorted(by_key))
    return [one for one in found if one is not None]


def check_linearizable(model: Model[State], history: Sequence[Operation]) -> None:
    """Fails with the histories of the keys that have no order."""
    refuted = refutations(model, history)
    assert not refuted, "\n\n".join(map(str, refuted))


def _refutation(model: Model[State], history: list[Operation], pairs_max: int) -> Refuted[State] | None:
    # At one instant what begins comes before what returns: then they overlap.
    begins = ((one.began_at, 0, place) for place, one in enumerate(history))
    returns = ((one.returned_at, 1, place) for place, one in enumerate(history) if one.returned_at is not None)
    under_way: dict[int, Operation] = {}
    pairs: set[tuple[State, frozenset[int]]] = {(model.initial(), frozenset())}
    for _, is_return, place in sorted(chain(begins, returns)):
        if not is_return:
            under_way[place] = history[place]
            continue
        left = _after_return(model, pairs, under_way, place, pairs_max)
        if not left:
            ordered = sorted(history, key=lambda one: one.began_at)
            return Refuted(history[place], list(dict.fromkeys(state for state, _ in pairs)), ordered)
        del under_way[place]
        pairs = left
    return None


def _after_return(
    model: Model[State],
    pairs: set[tuple[State, frozenset[int]]],
    under_way: Mapping[int, Operation],
    returning: int,
    pairs_max: int,
) -> set[tuple[State, frozenset[int]]]:
    """The pairs in which the returning operation has taken effect, after as few others as it takes."""
    seen = set(pairs)
    looked_at = list(pairs)
    left: set[tuple[State, frozenset[int]]] = set()
    while looked_at:
        state, done = looked_at.pop()
        if returning in done:
            left.add((state, done - {returning}))
            continue
        for place, operation in under_way.items():
            if place in done:
                continue
            for following in model.after(state, operation.asked, operation.answer):
                pair = (following, done | {place})
                if pair not in seen:
                    seen.add(pair)
                    looked_at.append(pair)
        if len(seen) > pairs_max:
            raise TooMuchAtOnce(f"{len(under_way)} operations on {operation.key!r} are under way at once")
    return left
