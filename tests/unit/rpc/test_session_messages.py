"""What a worker says of itself when it opens its session is bounded: no worker holds up a replica with it."""

import pytest

from holdfast.api.v1 import worker_service_pb2 as pb
from holdfast.errors import InvalidRequest
from holdfast_coordinator.engine.argument_types import type_of_text
from holdfast_coordinator.rpc.session_messages import PARAMETERS_MAX, REGISTERED_TYPES_MAX, introduction


def request_with(*types: str, workflows: int = 1) -> pb.OpenSessionRequest:
    request = pb.OpenSessionRequest()
    for number in range(workflows):
        registration = request.workflows.add(name=f"flow-{number}")
        for place, text in enumerate(types[number::workflows]):
            registration.parameters.add(name=f"p{place}", type=text)
    return request


def test_a_worker_with_too_many_different_types_is_refused() -> None:
    types = [f"Literal[{number}]" for number in range(REGISTERED_TYPES_MAX + 1)]
    with pytest.raises(InvalidRequest, match=f"more than {REGISTERED_TYPES_MAX} different types"):
        introduction(request_with(*types, workflows=10))
    assert len(introduction(request_with(*types[1:], workflows=10)).workflows) == 10


def test_a_workflow_with_too_many_parameters_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=f"more than {PARAMETERS_MAX} parameters"):
        introduction(request_with(*["int"] * (PARAMETERS_MAX + 1)))
    introduction(request_with(*["int"] * PARAMETERS_MAX))


def test_opening_a_session_compiles_no_type() -> None:
    """That takes a third of a millisecond for each, in the time of everybody else."""
    compiled = type_of_text.cache_info().misses
    types = ["Literal['not compiled before']", "list[Literal['nor this']]"]
    (signature,) = introduction(request_with(*types)).workflows.values()
    assert [one["type"] for one in signature["parameters"]] == types
    assert type_of_text.cache_info().misses == compiled


def test_a_type_that_is_no_hint_of_pythons_own_types_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="no hint of types of Python's own"):
        introduction(request_with("int", "__import__('os')"))
