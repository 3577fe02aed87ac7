"""A graph that was changed under an open run: recorded results and skips are found by the names of tasks."""

from collections.abc import Sequence
from functools import partial

import pytest

from holdfast import Graph
from holdfast.errors import NonDeterminism
from holdfast.journal import Entry, StepScheduled, StepSkipped
from tests.support.workflow_driver import Driver


def same(value: str) -> str:
    return value


def graph_of(**deps: Sequence[str]) -> Graph:
    """Tasks in this order, one at a time; `slow` fails."""
    g = Graph("changed", max_parallel=1)

    def slow() -> None:
        raise ValueError("kaput")

    for name, above in deps.items():
        g.task(name=name, deps=above)(slow if name == "slow" else partial(same, name))
    return g


def run_of(g: Graph) -> Driver:
    return Driver(g.definition.function)


def skipped(journal: Sequence[Entry]) -> list[str]:
    return [one.step_id for one in journal if isinstance(one, StepSkipped)]


def called(journal: Sequence[Entry]) -> list[str]:
    return [one.step_id for one in journal if isinstance(one, StepScheduled)]


def until_the_skip(g: Graph) -> list[Entry]:
    journal = run_of(g).run().journal
    return journal[: next(place for place, one in enumerate(journal) if isinstance(one, StepSkipped)) + 1]


def test_a_skip_that_changed_code_comes_to_later_is_recorded_once() -> None:
    before = until_the_skip(graph_of(slow=[], child=["slow"], other=[]))
    assert called(before) == ["slow"]
    resumed = run_of(graph_of(other=[], slow=[], child=["slow"])).resume(before).run()
    assert called(resumed.journal) == ["slow", "other"]
    assert skipped(resumed.journal) == ["child"]


def test_a_task_that_is_no_longer_skipped_runs() -> None:
    before = until_the_skip(graph_of(slow=[], child=["slow"], other=[]))
    resumed = run_of(graph_of(slow=[], child=[], other=[])).resume(before).run()
    assert called(resumed.journal) == ["slow", "child", "other"]
    assert resumed.instance.is_closed


def test_a_task_that_is_gone_leaves_its_skip_behind() -> None:
    before = until_the_skip(graph_of(slow=[], child=["slow"], other=[]))
    resumed = run_of(graph_of(slow=[], other=[])).resume(before).run()
    assert skipped(resumed.journal) == ["child"]
    assert resumed.instance.is_closed


def test_a_task_that_is_new_is_called_in_an_open_run() -> None:
    whole = run_of(graph_of(first=[], second=["first"])).run().journal
    resumed = run_of(graph_of(new=[], first=[], second=["first"])).resume(whole[:3]).run()
    assert called(resumed.journal) == ["first", "new", "second"]


def test_a_task_that_gets_something_else_than_it_was_recorded_with_is_a_divergence() -> None:
    one = Graph("changed")
    one.task(name="a")(lambda: 1)
    one.task(name="use")(lambda a: a)
    whole = run_of(one).run().journal
    other = Graph("changed")
    other.task(name="a")(lambda: 1)
    other.task(name="use")(lambda a, b=None: a)
    other.task(name="b")(lambda: 2)
    with pytest.raises(NonDeterminism, match="use"):
        run_of(other).resume(whole[:4]).run()
