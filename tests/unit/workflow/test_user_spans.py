"""`holdfast.span`: one entry per part of the code that was left, silent on replay, and never a reason to diverge."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import holdfast
from holdfast.errors import StepFailed
from holdfast.journal import CancelRequested, Entry, Payload, Signal, UserSpan
from holdfast.statuses import RunStatus
from tests.support import workflows_to_replay as flows
from tests.support.workflow_driver import START, Driver, a_step, instance_of, replayed


@a_step
def double(x: int) -> int:
    return 2 * x


@a_step
def explode() -> None:
    raise ValueError("no")


def spans_of(journal: list[Entry]) -> dict[str, UserSpan]:
    return {entry.name: entry for entry in journal if isinstance(entry, UserSpan)}


async def nested() -> int:
    with holdfast.span("outer"):
        first = await double(1)
        with holdfast.span("inner"):
            await flows.sleep(3600)
        return await double(first)


def test_a_span_is_one_entry_with_its_times_and_the_span_around_it() -> None:
    journal = Driver(nested).run().journal
    outer, inner = spans_of(journal)["outer"], spans_of(journal)["inner"]
    assert (outer.number, outer.parent, outer.error_type) == (1, 0, "")
    assert (inner.number, inner.parent) == (2, 1)
    assert outer.began_at == START
    assert outer.began_at < inner.began_at < inner.at < outer.at
    assert sum(isinstance(entry, UserSpan) for entry in journal) == 2


def test_spans_of_a_task_lie_below_the_one_it_was_started_in() -> None:
    async def part(name: str) -> None:
        with holdfast.span(name):
            await double(1)

    async def parallel() -> None:
        with holdfast.span("both"):
            await asyncio.gather(part("a"), part("b"))
        with holdfast.span("after"):
            pass

    found = spans_of(Driver(parallel).run().journal)
    assert [found[name].parent for name in ("both", "a", "b", "after")] == [0, 1, 1, 0]


def test_a_span_that_lasts_longer_than_the_one_around_it_belongs_to_the_next_one_out() -> None:
    async def part(go_on: asyncio.Event) -> None:
        with holdfast.span("long"):
            await go_on.wait()

    async def leaves_early() -> None:
        go_on = asyncio.Event()
        with holdfast.span("outer"):
            with holdfast.span("short"):
                task = asyncio.create_task(part(go_on))
                await double(1)
            await double(2)
            go_on.set()
            await task

    found = spans_of(Driver(leaves_early).run().journal)
    assert found["short"].at < found["long"].at
    assert found["long"].parent == found["outer"].number


def test_a_generator_that_ends_first_does_not_take_later_spans_out_of_the_one_around_them() -> None:
    def generator() -> Iterator[int]:
        with holdfast.span("generator"):
            yield 1

    async def overlapping() -> None:
        values = generator()
        next(values)
        with holdfast.span("outer"):
            values.close()
            with holdfast.span("inner"):
                await double(1)
        with holdfast.span("after"):
            pass

    found = spans_of(Driver(overlapping).run().journal)
    assert [found[name].parent for name in ("generator", "outer", "after")] == [0, 0, 0]
    assert found["inner"].parent == found["outer"].number


async def failing() -> None:
    try:
        with holdfast.span("fails"):
            await explode()
    except StepFailed:
        pass


def test_the_error_that_leaves_a_span_is_recorded() -> None:
    assert spans_of(Driver(failing).run().journal)["fails"].error_type == "StepFailed"


def test_to_be_cancelled_is_no_error_of_a_span() -> None:
    async def waits() -> None:
        with holdfast.span("waits"):
            await flows.receive("never")

    driver = Driver(waits, mail=[CancelRequested("enough")]).run()
    assert driver.closed.status is RunStatus.CANCELLED
    assert spans_of(driver.journal)["waits"].error_type == ""


def test_what_other_tasks_have_open_ends_with_the_code_before_the_run_closes() -> None:
    async def part() -> None:
        with holdfast.span("outer"), holdfast.span("inner"):
            await asyncio.Event().wait()

    async def leaves_a_task() -> None:
        task = asyncio.create_task(part())
        await double(1)
        assert not task.done()

    journal = Driver(leaves_a_task).run().journal
    assert [type(entry).__name__ for entry in journal[-3:]] == ["UserSpan", "UserSpan", "RunClosed"]
    assert spans_of(journal)["inner"].parent == spans_of(journal)["outer"].number


def test_code_that_is_dropped_from_memory_records_nothing() -> None:
    driver = Driver(nested).start()
    driver.instance.close()
    assert driver.instance.take_commands() == []


def test_a_span_open_over_a_crash_keeps_its_beginning() -> None:
    before = Driver(nested).run().journal
    for length in range(1, len(before)):
        after = Driver(nested).resume(before[:length]).run().journal
        assert spans_of(after)["outer"].began_at == START
        assert sorted(entry.number for entry in after if isinstance(entry, UserSpan)) == [1, 2]


def test_a_hundred_replays_add_no_entry() -> None:
    journal = Driver(flows.spanned).run().journal
    for _ in range(100):
        assert replayed(flows.spanned, (), journal) == []


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


@pytest.mark.parametrize(("old", "new"), [(nested, without), (without, nested), (nested, with_more)])
def test_code_may_gain_and_lose_spans_while_a_run_is_open(old: Any, new: Any) -> None:
    before = Driver(old).run().journal
    for length in range(1, len(before)):
        driver = Driver(new).resume(before[:length]).run()
        assert driver.result == 4
        numbers = [entry.number for entry in driver.journal if isinstance(entry, UserSpan)]
        assert len(numbers) == len(set(numbers)), "two spans of one number would be one span in a trace"


def test_a_span_that_is_new_in_a_replayed_stretch_is_not_recorded_with_a_wrong_end() -> None:
    before = Driver(without).run().journal
    fired = next(at for at, entry in enumerate(before) if type(entry).__name__ == "MailConsumed") + 1
    found = spans_of(Driver(with_more).resume(before[: fired + 1]).run().journal)
    assert "new" not in found
    assert "newer" in found


def test_a_long_name_is_cut_and_one_that_cannot_be_stored_is_mended() -> None:
    async def odd() -> None:
        with holdfast.span("x" * 1000), holdfast.span("half \ud83d"):
            pass

    assert sorted(spans_of(Driver(odd).run().journal)) == ["half ?", "x" * 200]


def test_outside_a_run_a_span_does_nothing() -> None:
    with holdfast.span("nothing"), holdfast.span("at all"):
        pass


async def test_outside_a_run_a_span_does_nothing_in_asyncio_either() -> None:
    async with holdfast.span("nothing"):
        await asyncio.sleep(0)


@pytest.mark.parametrize("name", ["", None, 3])
def test_a_span_needs_a_name(name: Any) -> None:
    with pytest.raises(ValueError, match="name of a span"):
        holdfast.span(name)


def test_one_span_object_is_for_one_block() -> None:
    async def twice() -> str:
        part = holdfast.span("part")
        with part:
            try:
                with part:
                    return "entered twice"
            except RuntimeError as error:
                return str(error)

    assert "entered already" in Driver(twice).run().result


async def waits_twice() -> None:
    await flows.receive("first")
    await flows.receive("second", timeout=60)
    await double(1)


def test_the_runtime_knows_since_when_a_signal_is_awaited_without_a_limit() -> None:
    instance = instance_of(waits_twice)
    driver = Driver(waits_twice)
    driver.instance = instance
    driver.start()
    one = Payload(b"1")
    assert instance.awaited_since(Signal("first", one)) == START
    assert instance.awaited_since(Signal("second", one)) is None
    assert instance.awaited_since(CancelRequested()) is None
    driver.post(Signal("first", one))
    assert instance.awaited_since(Signal("second", one)) is None, "its timer says it"
    assert [command.signal for command in driver.commands if hasattr(command, "signal")] == ["second"]
