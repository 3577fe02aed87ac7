"""`patched`: code that is changed under open runs, which go their old way, while later ones go the new one."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

import holdfast
from holdfast.errors import NonDeterminism, UnguardedCall
from holdfast.journal import Entry, Patched, Payload, Signal, StepScheduled
from tests.support.workflow_driver import Driver, a_step, instance_of


@a_step
def ask_once(who: str) -> str:
    return f"asked {who}"


@a_step
def ask_twice(who: str) -> str:
    return f"asked {who} twice"


@a_step
def tell(what: str) -> str:
    return what


async def before() -> str:
    first = await tell("begin")
    answer = await ask_once("Ada")
    await holdfast.receive("go")
    return await tell(f"{first} {answer}")  # type: ignore[no-any-return]


async def changed() -> str:
    first = await tell("begin")
    answer = await (ask_twice if holdfast.patched("ask-twice") else ask_once)("Ada")
    await holdfast.receive("go")
    return await tell(f"{first} {answer}")  # type: ignore[no-any-return]


async def afterwards() -> str:
    first = await tell("begin")
    answer = await ask_twice("Ada")
    await holdfast.receive("go")
    return await tell(f"{first} {answer}")  # type: ignore[no-any-return]


GO = Signal("go", Payload(b"null"))
OLD, NEW = "begin asked Ada", "begin asked Ada twice"


def finished(function: Callable[..., Any], journal: Sequence[Entry]) -> Any:
    return Driver(function, mail=[GO]).resume(journal).run().result


def test_a_new_run_goes_the_new_way_and_its_journal_says_so() -> None:
    driver = Driver(changed, mail=[GO]).run()
    assert driver.result == NEW
    assert [entry.change_id for entry in driver.journal if isinstance(entry, Patched)] == ["ask-twice"]


def test_a_run_that_was_there_before_the_change_goes_the_old_way() -> None:
    journal = Driver(before, mail=[GO]).run().journal
    here = next(place for place, entry in enumerate(journal) if isinstance(entry, StepScheduled) and entry.number == 2)
    for end in range(here + 1, len(journal)):
        assert finished(changed, journal[:end]) == OLD, end


def test_a_run_that_has_not_come_there_yet_goes_the_new_way() -> None:
    journal = Driver(before, mail=[GO]).run().journal
    # Whose first step is still running, or has just ended, or has only just been called.
    for end in (1, 2, 3):
        assert finished(changed, journal[:end]) == NEW, end


def test_a_replay_from_any_place_goes_the_same_way() -> None:
    journal = Driver(changed, mail=[GO]).run().journal
    for end in range(1, len(journal)):
        # An entry that the code observes and what it asks for then are committed together.
        if not isinstance(journal[end], (Patched, StepScheduled)):
            assert finished(changed, journal[:end]) == NEW, end
    instance = instance_of(changed)
    instance.foresee(journal)
    for entry in journal:
        instance.feed(entry)
    assert instance.take_commands() == []


def test_the_question_can_be_removed_when_the_old_way_is() -> None:
    journal = Driver(changed, mail=[GO]).run().journal
    for end in range(1, len(journal)):
        if not isinstance(journal[end], (Patched, StepScheduled)):
            assert finished(afterwards, journal[:end]) == NEW, end


def test_without_the_question_the_change_stalls_what_was_there_before() -> None:
    begun = Driver(before).start()
    begun.complete(1)
    with pytest.raises(NonDeterminism, match="expected step ask_once"):
        Driver(afterwards).resume(begun.journal)


def test_the_answer_is_the_same_throughout_a_run() -> None:
    async def old() -> list[bool]:
        for _ in range(2):
            await tell("again")
        return []

    async def new() -> list[bool]:
        found = []
        for _ in range(4):
            found.append(holdfast.patched("a"))
            await tell("again")
        return found

    driver = Driver(new).run()
    assert driver.result == [True] * 4
    assert sum(isinstance(entry, Patched) for entry in driver.journal) == 1
    # One that was in the loop already is not changed in the middle.
    begun = Driver(old).start()
    begun.complete(1)
    assert Driver(new).resume(begun.journal).run().result == [False] * 4


def test_changes_are_told_apart() -> None:
    async def first() -> list[bool]:
        found = [holdfast.patched("a")]
        await tell("x")
        await tell("y")
        return found

    async def second() -> list[bool]:
        found = [holdfast.patched("b"), holdfast.patched("a")]
        await tell("x")
        found.append(holdfast.patched("c"))
        await tell("y")
        return found

    begun = Driver(first).start()
    assert Driver(second).resume(begun.journal).run().result == [False, True, True]


def test_a_journal_that_is_read_in_parts_is_not_at_its_end_before_the_last() -> None:
    begun = Driver(before).start()
    begun.complete(1)
    journal = begun.journal
    assert len(journal) == 4
    instance = instance_of(changed)
    instance.expect(len(journal))
    instance.foresee(journal[:3])
    for entry in journal[:3]:
        instance.feed(entry)
    # The code has asked by now, though nothing that was read so far says what it did then.
    instance.foresee(journal[3:])
    instance.feed(journal[3])
    assert instance.take_commands() == []


def test_a_predicate_asks_for_no_change() -> None:
    async def flow() -> str:
        with pytest.raises(UnguardedCall) as caught:
            await holdfast.wait_until(lambda: holdfast.patched("a"))
        return str(caught.value)

    assert "patched('a') in the predicate of wait_until" in Driver(flow).run().result


@pytest.mark.parametrize(("change_id", "kind"), [("", ValueError), (5, TypeError), ("x" * 201, ValueError)])
def test_a_bad_name_is_refused(change_id: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="patched: change_id"):
        holdfast.patched(change_id)


def test_outside_a_run_it_says_where_it_works() -> None:
    with pytest.raises(RuntimeError, match=r"patched\(\) works inside a run only"):
        holdfast.patched("a")
