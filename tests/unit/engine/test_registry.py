"""Known workflows, and arguments that do or do not fit them."""

import asyncio
from datetime import datetime
from typing import Any

import pytest

from holdfast.errors import ArgumentsRejected, CoordinatorUnavailable, WorkflowNotRegistered
from holdfast_coordinator.engine.matcher import Matcher
from holdfast_coordinator.engine.registry import Registry, bind, fitting_signature
from holdfast_coordinator.store.control_port import KnownWorkflow
from tests.support.engine_replicas import attachment
from tests.support.memory_control_store import MemoryControlStore


def parameter(name: str, kind: str = "either", *, required: bool = True) -> dict[str, Any]:
    """One parameter of a signature."""
    return {"name": name, "kind": kind, "required": required}


PLAIN = {
    "parameters": [
        parameter("first", "positional_only"),
        parameter("second"),
        parameter("third", "named_only", required=False),
    ],
    "extra_positional": False,
    "extra_named": False,
}
OPEN = {**PLAIN, "extra_positional": True, "extra_named": True}


@pytest.mark.parametrize(
    ("signature", "positional", "named", "bound"),
    [
        (None, 2, ["anything"], ["#0", "#1"]),
        (PLAIN, 2, [], ["first", "second"]),
        (PLAIN, 1, ["second", "third"], ["first"]),
        (OPEN, 3, ["more"], ["first", "second", "#2"]),
    ],
)
def test_positions_are_bound_to_parameters(
    signature: dict[str, Any] | None, positional: int, named: list[str], bound: list[str]
) -> None:
    assert bind("order", signature, positional, named) == bound


@pytest.mark.parametrize(
    ("signature", "positional", "named", "parameter_name", "reason"),
    [
        (PLAIN, 3, [], "#2", "is one too many"),
        (PLAIN, 2, ["second"], "second", "given twice"),
        (PLAIN, 2, ["thrid"], "thrid", "did you mean 'third'"),
        (PLAIN, 1, ["second", "first"], "first", "given twice"),
        (PLAIN, 0, ["second", "first"], "first", "is not a parameter"),
        (PLAIN, 1, [], "second", "is missing"),
        (OPEN, 0, [], "first", "is missing"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_name(
    signature: dict[str, Any], positional: int, named: list[str], parameter_name: str, reason: str
) -> None:
    with pytest.raises(ArgumentsRejected, match=reason) as refused:
        bind("order", signature, positional, named)
    assert refused.value.parameter == parameter_name


class SlowControl(MemoryControlStore):
    """Answers what workflows are known when the test says so; fails first, when told."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.answers = asyncio.Event()
        self.fails = False

    async def registered_since(self, seen_until: datetime | None) -> list[KnownWorkflow]:
        """See control_port.ControlStore."""
        if self.fails:
            self.fails = False
            raise CoordinatorUnavailable("its database")
        self.asked.set()
        await self.answers.wait()
        return await super().registered_since(seen_until)


def registry_of(control: MemoryControlStore) -> Registry:
    """A registry whose queue is served by a session."""
    matcher = Matcher()
    matcher.attach(attachment())
    return Registry(control, matcher)


async def test_a_name_is_called_unknown_only_after_it_was_looked_up() -> None:
    control = SlowControl()
    await control.register_workflows("default", {"order": PLAIN})
    registry = registry_of(control)
    asking = [asyncio.create_task(registry.signatures("default", "default", "order")) for _ in range(2)]
    await control.asked.wait()
    control.answers.set()
    assert await asyncio.gather(*asking) == [[PLAIN], [PLAIN]]


async def test_a_failed_look_up_is_not_taken_for_an_answer() -> None:
    control = SlowControl()
    control.fails = True
    control.answers.set()
    await control.register_workflows("default", {"order": PLAIN})
    registry = registry_of(control)
    with pytest.raises(CoordinatorUnavailable):
        await registry.signatures("default", "default", "order")
    assert await registry.signatures("default", "default", "order") == [PLAIN]


async def test_what_another_replica_registered_counts_before_anything_is_refused() -> None:
    control = MemoryControlStore()
    registry = registry_of(control)
    await registry.refresh()
    await control.register_workflows("default", {"order": PLAIN})
    assert await registry.signatures("default", "default", "order") == [PLAIN]
    newer = {**PLAIN, "extra_named": True}
    await control.register_workflows("default", {"order": newer})
    await registry.refresh()
    assert registry.known("default", "order") == [newer, PLAIN]


def test_arguments_fit_when_one_of_the_releases_that_serve_takes_them() -> None:
    wider = {**PLAIN, "parameters": [*PLAIN["parameters"], parameter("fourth", "named_only")]}
    assert fitting_signature("order", [PLAIN, wider], [b"1", b"2"], {"fourth": b"4"}) is wider
    assert fitting_signature("order", [wider, PLAIN], [b"1", b"2"], {}) is PLAIN
    with pytest.raises(ArgumentsRejected, match="is not a parameter"):
        fitting_signature("order", [PLAIN, wider], [b"1"], {"fourth": b"4"})
    assert fitting_signature("order", [], [b"1"] * 7, {"anything": b"1"}) is None


async def test_an_unknown_name_is_refused_only_where_somebody_serves_the_queue() -> None:
    registry = registry_of(MemoryControlStore())
    registry.registered("default", {"order": PLAIN})
    with pytest.raises(WorkflowNotRegistered) as refused:
        await registry.signatures("default", "default", "ordre")
    assert refused.value.suggestion == "order"
    assert await registry.signatures("default", "elsewhere", "ordre") == ()
