"""What is called inside `holdfast.span` says so in its entry, and the journal has the beginning of the span before."""

import asyncio
from typing import Any

import pytest

import holdfast
from holdfast import App
from holdfast.journal import ChildStarted, Entry, StepScheduled, TimerSet, UserSpan, UserSpanBegan
from tests.support import workflows_to_replay as flows
from tests.support.workflow_driver import START, Driver, a_step

app = App("spans")


@app.workflow
async def child(x: int) -> int:
    return x


@a_step
def double(x: int) -> int:
    return 2 * x


async def nested() -> int:
    with holdfast.span("outer"):
        first = await double(1)
        with holdfast.span("inner"):
            await flows.sleep(3600)
        return await double(first)


async def without() -> int:
    first = await double(1)
    await flows.sleep(3600)
    return await double(first)


async def with_more() -> int:
    with holdfast.span("new"):
        first = await double(1)
    with holdfast.span("outer"), holdfast.span("inner"):
        await flows.sleep(3600)
    with holdfast.span("newer"):
        return await double(first)


def begun_in(journal: list[Entry]) -> list[UserSpanBegan]:
    return [entry for entry in journal if isinstance(entry, UserSpanBegan)]


def place_of(journal: list[Entry], kind: type) -> list[str]:
    """The names of the spans that the entries of this kind say they are in, all begun by then."""
    names = {0: ""}
    found = []
    for entry in journal:
        if isinstance(entry, UserSpanBegan):
            names[entry.number] = entry.name
        elif isinstance(entry, kind):
            found.append(names[entry.span])
    return found


async def calls_everything() -> None:
    await double(0)
    with holdfast.span("outer"):
        with holdfast.span("quick"):
            pass
        with holdfast.span("inner"):
            await double(1)
            await flows.sleep(5)
        await asyncio.sleep(5)
        await child(4)
        await asyncio.gather(double(2), within())
    await double(4)


async def within() -> None:
    with holdfast.span("task"):
        await double(3)


def test_what_is_called_in_a_span_says_so_and_the_journal_has_the_span_before() -> None:
    driver = Driver(calls_everything, children={"child": int})
    journal = driver.run().journal
    assert place_of(journal, StepScheduled) == ["", "inner", "outer", "task", ""]
    assert place_of(journal, TimerSet) == ["inner", "outer"]
    assert place_of(journal, ChildStarted) == ["outer"]
    begun = begun_in(journal)
    assert [entry.name for entry in begun] == ["outer", "inner", "task"], (
        "once each, and only where something is called"
    )
    assert [entry.parent for entry in begun] == [0, begun[0].number, begun[0].number]
    left = {entry.name: entry.number for entry in journal if isinstance(entry, UserSpan)}
    assert all(left[entry.name] == entry.number for entry in begun)


def test_a_step_stays_in_its_span_when_another_worker_goes_on_after_a_crash() -> None:
    before = Driver(nested).run().journal
    for length in range(1, len(before)):
        after = Driver(nested).resume(before[:length]).run().journal
        assert place_of(after, StepScheduled) == place_of(before, StepScheduled)
        assert [entry.name for entry in begun_in(after)] == [entry.name for entry in begun_in(before)]


async def with_another_name() -> int:
    with holdfast.span("renamed"):
        first = await double(1)
        with holdfast.span("inner"):
            await flows.sleep(3600)
        return await double(first)


@pytest.mark.parametrize("new", [without, with_more, with_another_name])
def test_spans_of_changed_code_never_share_a_number(new: Any) -> None:
    before = Driver(nested).run().journal
    for length in range(1, len(before)):
        journal = Driver(new).resume(before[:length]).run().journal
        numbers = [entry.number for entry in begun_in(journal)]
        assert len(numbers) == len(set(numbers))
        place_of(journal, StepScheduled)


def test_a_span_that_is_new_around_a_replayed_step_has_the_later_ones_in_it() -> None:
    before = Driver(without).run().journal
    scheduled = next(at for at, entry in enumerate(before) if isinstance(entry, StepScheduled)) + 1
    journal = Driver(with_another_name).resume(before[:scheduled]).run().journal
    assert place_of(journal, StepScheduled) == ["", "renamed"]
    assert begun_in(journal)[0].began_at == START
