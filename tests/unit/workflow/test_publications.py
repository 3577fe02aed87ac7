"""`holdfast.publish`: values of a run that anybody may read, as decisions of its code."""

import asyncio
import json
from typing import Any

import pytest

import holdfast
from holdfast.errors import NonDeterminism, PayloadNotSerializable, UnguardedCall
from holdfast.journal import Payload, Published, Signal, StepScheduled
from holdfast.testing import run_local
from tests.support.workflow_driver import Driver, a_step


@a_step
def tell(what: str) -> str:
    return what


async def publishing() -> str:
    holdfast.publish("progress", 0.5)
    answer = await tell("yes")
    items = [answer]
    holdfast.publish("items", items)
    items.append("not published")
    holdfast.publish("progress", 1)
    await holdfast.receive("go")
    holdfast.publish("items", None)
    return answer


async def publishing_something_else() -> str:
    holdfast.publish("share", 0.5)
    return await tell("yes")


async def publishing_nothing() -> str:
    return await tell("yes")


GO = Signal("go", Payload(b"null"))
VALUES = [("progress", 0.5), ("items", ["yes"]), ("progress", 1), ("items", None)]


def published_in(driver: Driver) -> list[tuple[str, Any]]:
    return [(entry.key, json.loads(entry.value.data)) for entry in driver.journal if isinstance(entry, Published)]


def started() -> Driver:
    driver = Driver(publishing).start()
    driver.complete(1)
    driver.post(GO)
    return driver


def test_what_is_published_is_an_entry_in_the_order_of_what_the_code_does() -> None:
    driver = started()
    assert driver.result == "yes"
    assert published_in(driver) == VALUES
    assert [type(entry) for entry in driver.journal[1:3]] == [Published, StepScheduled]


def test_a_replay_publishes_nothing_again_from_wherever_it_goes_on() -> None:
    journal = started().journal
    # Also between two values: a large transition is committed in parts.
    for end in range(1, len(journal) + 1):
        again = Driver(publishing, mail=[GO]).resume(journal[:end]).run()
        assert published_in(again) == VALUES, end


@pytest.mark.parametrize("changed", [publishing_something_else, publishing_nothing])
def test_code_that_publishes_under_another_key_does_not_fit_the_journal(changed: Any) -> None:
    with pytest.raises(NonDeterminism, match="'progress' published"):
        Driver(changed).resume(started().journal)


def test_a_condition_publishes_nothing() -> None:
    def looks() -> bool:
        holdfast.publish("seen", 1)
        return True

    async def waits() -> str:
        with pytest.raises(UnguardedCall, match="publish"):
            await holdfast.wait_until(looks)
        return "went on"

    driver = Driver(waits).start()
    assert (driver.result, published_in(driver)) == ("went on", [])


def test_a_value_that_cannot_be_stored_is_an_error_of_the_code_that_names_the_key() -> None:
    async def publishes_a_lock() -> str:
        with pytest.raises(PayloadNotSerializable, match="published as 'lock'"):
            holdfast.publish("lock", asyncio.Lock())
        return "went on"

    driver = Driver(publishes_a_lock).start()
    assert (driver.result, published_in(driver)) == ("went on", [])


def test_publish_outside_a_run_says_where_it_works() -> None:
    with pytest.raises(RuntimeError, match=r"publish\(\) works inside a run only"):
        holdfast.publish("progress", 1)
    with pytest.raises(ValueError, match="publish"):
        holdfast.publish("", 1)


def test_a_local_run_shows_what_it_has_published_last() -> None:
    @holdfast.App("publications").workflow
    async def counts() -> int:
        for number in range(3):
            holdfast.publish("number", number)
            await holdfast.sleep("1h")
        holdfast.publish("done", True)
        return 3

    run = asyncio.run(run_local(counts))
    assert run.published == {"number": 2, "done": True}
