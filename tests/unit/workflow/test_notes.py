"""`holdfast.note`: lines that workflow code writes into history, trace and log, once (F161)."""

import asyncio
import json
import logging
from typing import Any

import pytest

import holdfast
from holdfast.errors import PayloadNotSerializable, UnguardedCall
from holdfast.journal import Noted, Payload, Signal, StepScheduled, UserSpanBegan
from holdfast.testing import run_local
from tests.support.workflow_driver import Driver, a_step, instance_of

pytestmark = pytest.mark.feature("F161")


@a_step
def tell(what: str) -> str:
    return what


async def with_notes() -> str:
    holdfast.note("begun")
    answer = await tell("yes")
    holdfast.note("answered", level="warning", answer=answer, times=2)
    await holdfast.receive("go")
    holdfast.note("gone")
    return answer


async def without_notes() -> str:
    answer: str = await tell("yes")
    await holdfast.receive("go")
    return answer


GO = Signal("go", Payload(b"null"))


def notes_of(driver: Driver) -> list[tuple[str, str, Any]]:
    notes = [entry for entry in driver.journal if isinstance(entry, Noted)]
    return [(note.text, note.level, None if note.facts is None else json.loads(note.facts.data)) for note in notes]


NOTES = [("begun", "info", None), ("answered", "warning", {"answer": "yes", "times": 2}), ("gone", "info", None)]


def started() -> Driver:
    driver = Driver(with_notes).start()
    driver.complete(1)
    driver.post(GO)
    return driver


def test_a_note_is_an_entry_in_the_order_of_what_the_code_does() -> None:
    driver = started()
    assert driver.result == "yes"
    assert notes_of(driver) == NOTES
    assert isinstance(driver.journal[1], Noted)
    assert isinstance(driver.journal[2], StepScheduled)


def test_a_replay_writes_none_again_from_wherever_it_goes_on() -> None:
    journal = started().journal
    # What the code observes and what it asks for then are committed together: those are the places where a run goes on.
    for end in (1, 3, 5, len(journal)):
        again = Driver(with_notes, mail=[GO]).resume(journal[:end]).run()
        assert notes_of(again) == NOTES, end


def test_code_may_gain_and_lose_notes_under_open_runs() -> None:
    old = Driver(without_notes).start()
    old.complete(1)
    gained = Driver(with_notes, mail=[GO]).resume(old.journal).run()
    assert gained.result == "yes"
    # Not what would have been said before something that is on record.
    assert [text for text, _, _ in notes_of(gained)] == ["answered", "gone"]
    lost = Driver(without_notes, mail=[GO]).resume(started().journal[:5]).run()
    assert lost.result == "yes"


def test_a_note_hangs_below_the_part_that_it_is_written_in() -> None:
    async def flow() -> None:
        with holdfast.span("outer"):
            holdfast.note("inside")
        holdfast.note("outside")

    driver = Driver(flow).run()
    [began] = [entry for entry in driver.journal if isinstance(entry, UserSpanBegan)]
    assert [(entry.text, entry.span) for entry in driver.journal if isinstance(entry, Noted)] == [
        ("inside", began.number),
        ("outside", 0),
    ]
    instance = instance_of(flow)
    instance.foresee(driver.journal)
    for entry in driver.journal:
        instance.feed(entry)
    assert instance.take_commands() == []


def test_a_long_text_is_cut_and_one_that_cannot_be_stored_is_made_so() -> None:
    async def flow() -> None:
        holdfast.note("x" * 3_000)
        holdfast.note("a\ud800b")

    assert [text for text, _, _ in notes_of(Driver(flow).run())] == ["x" * 2_000, "a?b"]


async def test_the_log_has_each_note_once_with_its_level_and_facts(caplog: pytest.LogCaptureFixture) -> None:
    @holdfast.App("notes").workflow
    async def flow() -> None:
        holdfast.note("approved", level="warning", by="Ada", times=2)
        await asyncio.sleep(60)
        holdfast.note("debugged", level="debug")

    caplog.set_level(logging.DEBUG, "holdfast.notes")
    run = await run_local(flow)
    assert run.status == "completed"
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "approved (by='Ada', times=2)"),
        ("DEBUG", "debugged"),
    ]
    assert sum(isinstance(entry, Noted) for entry in run.history) == 2


def test_outside_a_run_it_is_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "holdfast.notes")
    holdfast.note("by hand", by="Ada")
    assert [record.getMessage() for record in caplog.records] == ["by hand (by='Ada')"]


MISUSE: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    ("", {}, ValueError, "note: the text is a text of at least one character"),
    (5, {}, ValueError, "not 5"),
    ("a", {"level": "loud"}, ValueError, "level is one of debug, info, warning, error, not 'loud'"),
    ("a", {"lock": asyncio.Lock()}, PayloadNotSerializable, "the facts of a note"),
]


@pytest.mark.parametrize(("text", "given", "kind", "words"), MISUSE)
def test_misuse_is_refused_and_nothing_is_written(
    text: Any, given: dict[str, Any], kind: type[Exception], words: str
) -> None:
    async def flow() -> str:
        with pytest.raises(kind, match=words):
            holdfast.note(text, **given)
        return "refused"

    driver = Driver(flow).run()
    assert driver.result == "refused"
    assert notes_of(driver) == []


def test_a_predicate_writes_no_notes() -> None:
    async def flow() -> str:
        with pytest.raises(UnguardedCall) as caught:
            await holdfast.wait_until(lambda: holdfast.note("seen"))
        return str(caught.value)

    assert "note 'seen' in the predicate of wait_until" in Driver(flow).run().result
