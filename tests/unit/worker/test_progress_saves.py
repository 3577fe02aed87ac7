"""What attempts have saved and the coordinator has not kept yet."""

import asyncio
from typing import Any

import pytest

from holdfast.channel.leases import ProgressReport, ProgressResult
from holdfast.errors import HoldfastError
from holdfast.journal import Payload
from holdfast.worker.progress_saves import SAVES_BYTES, ProgressSaves


def saved(details: bytes, step: int = 1, attempt: int = 1) -> ProgressReport:
    return ProgressReport("run_1", step, attempt, 1, False, Payload(details))


def result(step: int = 1, **facts: Any) -> ProgressResult:
    return ProgressResult("run_1", step, facts.pop("saved", True), **facts)


async def test_who_saves_waits_until_it_is_kept() -> None:
    saves = ProgressSaves()
    waiter = saves.add(saved(b"1"))
    assert saves.take() == [saved(b"1")]
    assert not waiter.done()
    assert saves.answered((result(),)) == ([saved(b"1")], 0)
    await waiter


async def test_what_is_saved_while_a_call_is_under_way_goes_with_the_next_and_the_last_counts() -> None:
    saves = ProgressSaves()
    first = saves.add(saved(b"1"))
    saves.take()
    second, third = saves.add(saved(b"2")), saves.add(saved(b"3"))
    assert saves.take() == [], "of one step nothing overtakes"
    saves.answered((result(),))
    assert (first.done(), second.done()) == (True, False)
    assert saves.take() == [saved(b"3")]
    saves.answered((result(),))
    await asyncio.gather(second, third)


async def test_what_is_locked_is_tried_again_unless_there_is_newer() -> None:
    saves = ProgressSaves()
    waiter = saves.add(saved(b"1"))
    saves.take()
    assert saves.answered((result(saved=False, busy=True),)) == ([], 1)
    assert saves.take() == [saved(b"1")]
    newer = saves.add(saved(b"2"))
    assert saves.answered((result(saved=False, busy=True),)) == ([], 2)
    assert saves.take() == [saved(b"2")]
    saves.answered((result(),))
    await asyncio.gather(waiter, newer)


@pytest.mark.parametrize(
    ("facts", "why"),
    [({"saved": False}, "this attempt no longer counts"), ({"saved": False, "refusal": "too large"}, "too large")],
)
async def test_who_saves_in_vain_is_told_why(facts: dict[str, Any], why: str) -> None:
    saves = ProgressSaves()
    waiter = saves.add(saved(b"1"))
    saves.take()
    saves.answered((result(**facts),))
    with pytest.raises(HoldfastError, match=f"the progress of attempt 1 of step 1 of run run_1 was not saved: {why}"):
        await waiter


async def test_a_thread_that_waits_for_an_attempt_that_has_ended_waits_no_longer() -> None:
    saves = ProgressSaves()
    waiter = saves.add(saved(b"1"))
    saves.forget(("run_1", 1))
    with pytest.raises(HoldfastError, match="no longer counts"):
        await waiter
    assert saves.take() == []


async def test_nothing_is_left_of_a_dead_session() -> None:
    saves = ProgressSaves()
    under_way = saves.add(saved(b"1"))
    saves.take()
    waiting = saves.add(saved(b"2", step=2))
    saves.forget_all()
    assert [isinstance(one.exception(), HoldfastError) for one in (under_way, waiting)] == [True, True]
    assert saves.answered((result(),)) == ([], 0)
    assert saves.take() == []


async def test_a_call_takes_no_more_than_fits_and_the_rest_goes_with_the_next() -> None:
    saves = ProgressSaves()
    large = bytes(SAVES_BYTES // 2)
    for step in range(1, 5):
        saves.add(saved(large, step=step))
    assert [one.step for one in saves.take()] == [1, 2]
    assert [one.step for one in saves.take()] == [3, 4]
