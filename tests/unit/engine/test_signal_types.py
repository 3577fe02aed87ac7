"""Which payloads are refused to their senders, by the types that workers have registered."""

import pytest
from pydantic import BaseModel

from holdfast.errors import ArgumentsRejected
from holdfast.hints.value_types import value_type
from holdfast_coordinator.engine.signal_types import CHECKED_BYTES_MAX, NAMES_MAX, TYPES_MAX, SignalTypes
from tests.support.memory_control_store import MemoryControlStore

RUN = "run_00" + "0" * 26


class Approval(BaseModel):
    approved: bool


class Decision(BaseModel):
    decision: str


def taken(type: object, name: str = "approval", workflow: str = "order") -> tuple[str, str, str]:
    return workflow, name, value_type(type).schema_text()


async def refusal(types: SignalTypes, data: bytes, name: str = "approval", workflow: str = "order") -> str:
    problem = await types.problem("default", workflow, RUN, name, data)
    assert problem is None or isinstance(problem, ArgumentsRejected)
    return "" if problem is None else str(problem)


@pytest.mark.feature("F96")
async def test_a_payload_that_no_registered_type_accepts_is_refused_with_the_field_and_what_is_accepted() -> None:
    types = SignalTypes(MemoryControlStore())
    await types.register("default", [taken(Approval)])
    assert await refusal(types, b'{"approved":"maybe"}') == (
        f"signal 'approval' of run {RUN}: argument 'approved' does not fit: input should be a valid boolean, unable to "
        "interpret input; accepted is {approved: bool}"
    )
    assert await refusal(types, b'{"approved":"yes"}') == ""


async def test_what_one_of_two_releases_accepts_is_taken() -> None:
    types = SignalTypes(MemoryControlStore())
    await types.register("default", [taken(Approval)])
    await types.register("default", [taken(Decision)])
    assert await refusal(types, b'{"approved":true}') == ""
    assert await refusal(types, b'{"decision":"no"}') == ""
    said = await refusal(types, b"{}")
    assert "argument 'decision' does not fit: field required; accepted is {decision: str} or {approved: bool}" in said


async def test_a_place_that_takes_anything_counts_beside_the_others() -> None:
    types = SignalTypes(MemoryControlStore())
    await types.register("default", [taken(Approval), taken(object)])
    assert await refusal(types, b"3") == ""


async def test_other_names_workflows_and_namespaces_take_anything() -> None:
    types = SignalTypes(MemoryControlStore())
    await types.register("other", [taken(Approval)])
    await types.register("default", [taken(Approval, "go"), taken(Approval, workflow="refund")])
    assert await refusal(types, b"3") == ""


async def test_what_another_replica_has_registered_counts_at_once() -> None:
    control = MemoryControlStore()
    here, there = SignalTypes(control), SignalTypes(control)
    await here.refresh()
    await there.register("default", [taken(Approval)])
    assert await refusal(here, b"3") != ""
    await there.register("default", [taken(Decision)])
    assert await refusal(here, b'{"decision":"no"}') == ""


async def test_after_a_restart_the_rows_say_what_was_registered() -> None:
    control = MemoryControlStore()
    await SignalTypes(control).register("default", [taken(Approval)])
    assert await refusal(SignalTypes(control), b"3") != ""


async def test_what_is_registered_again_is_not_written_again() -> None:
    control = MemoryControlStore()
    await SignalTypes(control).register("default", [taken(Approval)])
    control.signals[0] = row = control.signals[0]
    await SignalTypes(control).register("default", [taken(Approval), taken(Approval)])
    assert control.signals == [row]


async def test_large_payloads_are_left_to_the_worker() -> None:
    types = SignalTypes(MemoryControlStore())
    await types.register("default", [taken(Approval)])
    assert await refusal(types, b'"' + b"x" * CHECKED_BYTES_MAX + b'"') == ""


async def test_a_type_of_another_release_is_left_to_the_worker() -> None:
    control = MemoryControlStore()
    await control.register_signals("default", [("order", "approval", "{}x")])
    assert await refusal(SignalTypes(control), b"3") == ""


async def test_names_without_end_fill_nothing() -> None:
    control = MemoryControlStore()
    types = SignalTypes(control)
    await types.register("default", [taken(int, f"item-{number}") for number in range(NAMES_MAX)])
    await types.register("default", [taken(int, "one-more"), taken(str, "item-0")])
    assert len(control.signals) == NAMES_MAX + 1
    assert await refusal(types, b"{}", "one-more") == ""
    assert await refusal(types, b"{}", "item-0") != ""


async def test_types_without_end_say_nothing() -> None:
    types = SignalTypes(MemoryControlStore())
    for number in range(TYPES_MAX + 5):
        await types.register("default", [("order", "approval", f'{{"type":"int","ge":{number}}}')])
    assert await refusal(types, b'"x"') == ""
