"""The context of a step: what it gives, and what it says when it was not given something."""

import asyncio
import copy
from datetime import timedelta
from typing import Any

import pytest

from holdfast import Context
from holdfast.definitions.context import ContextUnavailable


def made(**given: Any) -> Context[Any]:
    return Context(run_id="run_1", workflow="order", step="charge", **given)


def test_deps_are_what_the_worker_was_given_even_when_that_is_none() -> None:
    assert made(deps={"db": 1}).deps == {"db": 1}
    assert made(deps=None).deps is None


def test_deps_that_the_worker_was_not_given_are_refused_with_the_way_out() -> None:
    with pytest.raises(ContextUnavailable, match=r"step charge .* Worker\(\.\.\., deps=\.\.\.\)"):
        _ = made().deps


class Deps:
    region = "north"
    step = "not this one"


def test_what_the_context_lacks_is_looked_up_in_deps() -> None:
    for deps in (Deps(), {"region": "north", "step": "not this one"}):
        context = made(deps=deps)
        assert (context.region, context.step) == ("north", "charge")
        with pytest.raises(AttributeError, match="step charge has no attribute 'nope', and neither has what"):
            _ = context.nope
        assert not hasattr(context, "_private")


def test_without_deps_a_missing_attribute_says_that_they_are_missing_and_is_no_attribute() -> None:
    with pytest.raises(ContextUnavailable, match=r"step charge .* Worker\(\.\.\., deps=\.\.\.\)"):
        _ = made().region
    assert not hasattr(made(), "region")


def test_a_context_can_be_copied() -> None:
    context = made(deps={"region": "north"}, attempt=3)
    assert (copy.copy(context).attempt, copy.copy(context).region) == (3, "north")


async def test_heartbeat_and_save_reach_the_worker() -> None:
    seen: list[Any] = []

    async def save(details: Any) -> None:
        seen.append(("save", details))

    context = made(heartbeat=lambda details: seen.append(("heartbeat", details)), save=save, saved=3)
    assert context.saved == 3
    context.heartbeat({"row": 1})
    await context.save({"row": 2})
    assert seen == [("heartbeat", {"row": 1}), ("save", {"row": 2})]
    assert context.saved == {"row": 2}


async def test_heartbeat_and_save_without_a_worker_say_so() -> None:
    with pytest.raises(ContextUnavailable, match="heartbeat is not available"):
        made().heartbeat()
    with pytest.raises(ContextUnavailable, match="save is not available"):
        await made().save(1)


def test_cancellation_is_seen_and_raised() -> None:
    made().raise_if_cancelled()
    context = made(is_cancelled=lambda: True)
    assert context.cancelled
    with pytest.raises(asyncio.CancelledError):
        context.raise_if_cancelled()


def test_the_remaining_time_is_never_below_zero() -> None:
    assert made().time_remaining is None
    assert made(time_left=lambda: timedelta(seconds=3)).time_remaining == timedelta(seconds=3)
    assert made(time_left=lambda: timedelta(seconds=-3)).time_remaining == timedelta(0)
