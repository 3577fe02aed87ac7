"""What workers may write into a journal, as the coordinator reads it."""

from datetime import timedelta

import pytest

from holdfast.api.v1 import worker_service_pb2 as pb
from holdfast.errors import InvalidRequest
from holdfast.limits import DEFAULT_LIMITS
from holdfast_coordinator.domain.commands import Then, Transition
from holdfast_coordinator.rpc.worker_wire import transition


def transition_with_span(name: str) -> Transition:
    message = pb.Transition(run_id="run_1", epoch=1, expected_seq=1, transition_id=1)
    message.then = pb.THEN_CONTINUE
    span = message.entries.add().user_span
    span.number, span.name = 1, name
    return transition("ses_1", message, DEFAULT_LIMITS, timedelta(0))


def test_a_span_of_workflow_code_asks_nothing_and_is_kept_as_it_is() -> None:
    asked = transition_with_span("x" * 200)
    assert (asked.asks, asked.count, asked.then, len(asked.journal)) == ([], 1, Then.CONTINUE, 1)


@pytest.mark.parametrize("name", ["", "x" * 201])
def test_a_span_needs_a_name_within_the_limit(name: str) -> None:
    with pytest.raises(InvalidRequest, match="1 to 200 characters"):
        transition_with_span(name)
