"""Whatever the graph, whatever fails, in whatever order steps end: order, cap and skipping hold, and replay agrees."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast import Graph
from holdfast.api.v1 import journal_pb2
from holdfast.journal import Entry, RunClosed, StepCompleted, StepFailed, StepScheduled, StepSkipped
from holdfast.statuses import RunStatus
from holdfast.wire import entry_from_message
from holdfast_coordinator.domain.continuations import RewrittenRow
from holdfast_coordinator.domain.rows import JournalRow
from holdfast_coordinator.wire.continuations import continuation
from tests.support.wire_messages import message_of
from tests.support.workflow_driver import Driver


@dataclass(frozen=True)
class Drawn:
    """A graph: what each task depends on, which tasks fail, in which order they are defined."""

    deps: dict[str, list[str]]
    failing: frozenset[str]
    defined: Sequence[str]
    max_parallel: int | None

    def graph(self) -> Graph:
        made = Graph("drawn", max_parallel=self.max_parallel)
        for name in self.defined:
            made.task(name=name, deps=self.deps[name])(_task(name, fails=name in self.failing))
        return made

    def above(self, name: str) -> set[str]:
        """All that a task depends on, directly or not."""
        return {one for dep in self.deps[name] for one in (dep, *self.above(dep))}


def _task(name: str, *, fails: bool) -> Any:
    def work() -> str:
        if fails:
            raise ValueError(f"{name} fails")
        return name

    return work


@st.composite
def drawn_graphs(draw: st.DrawFn) -> Drawn:
    names = [f"t{place}" for place in range(draw(st.integers(1, 8)))]
    deps = {
        name: draw(st.lists(st.sampled_from(names[:place]), unique=True, max_size=3)) if place else []
        for place, name in enumerate(names)
    }
    return Drawn(
        deps,
        frozenset(draw(st.sets(st.sampled_from(names), max_size=2))),
        draw(st.permutations(names)),
        draw(st.one_of(st.none(), st.integers(1, 3))),
    )


def driven(drawn: Drawn, seed: int) -> Driver:
    return Driver(drawn.graph().definition.function, seed=seed)


def open_counts(journal: Sequence[Entry]) -> Iterator[int]:
    is_open = set[int]()
    for entry in journal:
        if isinstance(entry, StepScheduled):
            is_open.add(entry.number)
        elif isinstance(entry, (StepCompleted, StepFailed)):
            is_open.remove(entry.number)
        yield len(is_open)


def check(drawn: Drawn, journal: Sequence[Entry]) -> None:
    """What must hold of the journal of a run that has ended."""
    names: dict[int, str] = {}
    completed, failed, skipped = list[str](), list[str](), list[str]()
    for entry in journal:
        match entry:
            case StepScheduled(_, number, name, _, step_id):
                assert name == f"drawn.{step_id}"
                assert set(drawn.deps[step_id]) <= set(completed), f"{step_id} was called before what it depends on"
                names[number] = step_id
            case StepCompleted(_, number):
                completed.append(names[number])
            case StepFailed(_, number):
                failed.append(names[number])
            case StepSkipped(_, number, name, step_id, failure):
                assert failure.error_type == "UPSTREAM_FAILED"
                assert name == f"drawn.{step_id}"
                assert drawn.above(step_id) & set(failed), f"{step_id} was skipped before anything above it failed"
                skipped.append(step_id)
    below_failures = {name for name in drawn.deps if drawn.above(name) & drawn.failing}
    assert sorted(skipped) == sorted(below_failures)
    assert sorted(failed) == sorted(drawn.failing - below_failures)
    assert sorted(completed) == sorted(set(drawn.deps) - drawn.failing - below_failures)
    closed = journal[-1]
    assert isinstance(closed, RunClosed)
    assert closed.status is (RunStatus.FAILED if drawn.failing else RunStatus.COMPLETED)
    if closed.failure is not None and closed.failure.step is not None:
        # What a retry goes back to is the failure that came first, so that it repeats all that failed.
        assert names[closed.failure.step.number] == failed[0]
    assert max(open_counts(journal)) <= (drawn.max_parallel or len(drawn.deps))


@pytest.mark.feature("F11")
@settings(deadline=None)
@given(drawn_graphs())
def test_tasks_are_listed_with_parents_first_and_always_in_the_same_order(drawn: Drawn) -> None:
    orders = [[task.name for task in drawn.graph().tasks()] for _ in range(3)]
    assert orders == [orders[0]] * 3
    assert sorted(orders[0]) == sorted(drawn.deps)
    for place, name in enumerate(orders[0]):
        assert set(drawn.deps[name]) <= set(orders[0][:place])


@pytest.mark.feature("F9", "F83", "F84")
@settings(deadline=None)
@given(drawn_graphs(), st.integers(0, 2**32))
def test_order_cap_and_skipping_hold_in_whatever_order_tasks_end(drawn: Drawn, seed: int) -> None:
    check(drawn, driven(drawn, seed).run().journal)


@pytest.mark.feature("F83")
@settings(deadline=None)
@given(drawn_graphs(), st.integers(0, 2**32))
def test_no_task_waits_that_could_run(drawn: Drawn, seed: int) -> None:
    driver = driven(drawn, seed).start()
    while not driver.instance.is_closed:
        done = {names_of(driver)[one.number] for one in driver.journal if isinstance(one, StepCompleted)}
        called = set(names_of(driver).values())
        ready = [name for name in drawn.deps if name not in called and set(drawn.deps[name]) <= done]
        assert not ready or len(driver.due) == drawn.max_parallel
        assert driver.advance()


def names_of(driver: Driver) -> dict[int, str]:
    return {one.number: one.step_id for one in driver.journal if isinstance(one, StepScheduled)}


@settings(max_examples=50, deadline=None)
@given(drawn_graphs(), st.integers(0, 2**32), st.data())
def test_a_run_goes_on_from_wherever_its_journal_ends(drawn: Drawn, seed: int, data: st.DataObject) -> None:
    whole = driven(drawn, seed).run().journal
    for length in {1, *data.draw(st.lists(st.integers(1, len(whole) - 1), max_size=4))}:
        check(drawn, driven(drawn, seed + 1).resume(whole[:length]).run().journal)


@settings(max_examples=50, deadline=None)
@given(drawn_graphs(), st.integers(0, 2**32), st.data())
def test_tasks_defined_in_another_order_find_their_recorded_results(
    drawn: Drawn, seed: int, data: st.DataObject
) -> None:
    whole = driven(drawn, seed).run().journal
    length = data.draw(st.integers(1, len(whole) - 1))
    other = Drawn(drawn.deps, drawn.failing, data.draw(st.permutations(drawn.defined)), drawn.max_parallel)
    resumed = driven(other, seed).resume(whole[:length]).run()
    ended = [one for one in resumed.journal if isinstance(one, (StepCompleted, StepFailed))]
    assert len({one.number for one in ended}) == len(ended)
    called = [one.step_id for one in resumed.journal if isinstance(one, StepScheduled)]
    assert len(set(called)) == len(called), "a task was called again that the journal has"
    skipped = [one.step_id for one in resumed.journal if isinstance(one, StepSkipped)]
    assert len(set(skipped)) == len(skipped), "the journal says twice that a task was skipped"


def continued(journal: Sequence[Entry]) -> list[Entry]:
    """What a retry of this closed run begins with, as the coordinator makes it."""
    messages = [message_of(entry) for entry in journal]
    rows = [
        JournalRow("run", seq, 1, 1, 0, (journal_pb2.JournalRow(entries=[one]).SerializeToString(),))
        for seq, one in enumerate(messages, start=1)
    ]
    found: list[Any] = []
    for part in continuation(rows, "run_origin").parts:
        if isinstance(part, RewrittenRow):
            found += journal_pb2.JournalRow.FromString(part.entries).entries
        else:
            found += messages[part.first - 1 : part.last]
    return [entry_from_message(one) for one in found]


@pytest.mark.feature("F36")
@settings(deadline=None)
@given(drawn_graphs(), st.integers(0, 2**32))
def test_a_retry_calls_what_failed_and_what_was_skipped_and_nothing_that_was_done(drawn: Drawn, seed: int) -> None:
    failed = driven(drawn, seed).run()
    if not drawn.failing:
        return
    done = {names_of(failed)[one.number] for one in failed.journal if isinstance(one, StepCompleted)}
    mended = Drawn(drawn.deps, frozenset(), drawn.defined, drawn.max_parallel)
    begun = continued(failed.journal)
    retried = driven(mended, seed).resume(begun).run()
    again = [one.step_id for one in retried.journal[len(begun) :] if isinstance(one, StepScheduled)]
    assert sorted(again) == sorted(set(drawn.deps) - done)
    closed = retried.journal[-1]
    assert isinstance(closed, RunClosed)
    assert closed.status is RunStatus.COMPLETED
    assert max(open_counts(retried.journal[len(begun) :])) <= (drawn.max_parallel or len(drawn.deps))
