"""Takes a report apart: what is misshapen is refused by itself, all else goes its way."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import structlog

from holdfast.api.v1 import worker_service_pb2 as pb
from holdfast.errors import HoldfastError, InvalidRequest
from holdfast.limits import Limits
from holdfast_coordinator.domain.commands import ReportAttempt, Transition
from holdfast_coordinator.engine.cells import Cells

from .worker_wire import attempt_report, transition

log = structlog.get_logger(__name__)

Message = TypeVar("Message", pb.Transition, pb.AttemptReport)
Made = TypeVar("Made", Transition, ReportAttempt)


@dataclass(slots=True)
class ReportParts:
    """The parts of a report, and by their places in it why some are refused.

    shaped: the report without those, which is what was sent where there are none.
    """

    shaped: pb.ReportRequest
    transitions: list[Transition]
    attempts: list[ReportAttempt]
    refused_transitions: dict[int, HoldfastError]
    refused_attempts: dict[int, HoldfastError]


def parts_of(request: pb.ReportRequest, cells: Cells, limits: Limits, grace: timedelta) -> ReportParts:
    """The parts as the core takes them. grace: see worker_wire.transition."""
    session_id = request.session_id
    seen: set[str] = set()

    def move(message: pb.Transition) -> Transition:
        if message.run_id in seen:
            raise InvalidRequest(
                "transitions", f"run {message.run_id!r} has two in one report; send one after the other"
            )
        seen.add(message.run_id)
        return transition(session_id, message, limits, grace)

    transitions, refused_transitions = _each(request.transitions, move, cells)
    attempts, refused_attempts = _each(request.attempts, lambda one: attempt_report(session_id, one, limits), cells)
    shaped = request
    if refused_transitions or refused_attempts:
        shaped = pb.ReportRequest(session_id=session_id, attach_no=request.attach_no)
        shaped.transitions.extend(_without(request.transitions, refused_transitions))
        shaped.attempts.extend(_without(request.attempts, refused_attempts))
    return ReportParts(shaped, transitions, attempts, refused_transitions, refused_attempts)


def _each(
    messages: Iterable[Message], make: Callable[[Message], Made], cells: Cells
) -> tuple[list[Made], dict[int, HoldfastError]]:
    made, refused = [], {}
    for place, message in enumerate(messages):
        try:
            one = make(message)
            cells.of_run(one.run_id)
            made.append(one)
        except HoldfastError as error:
            log.warning("report_refused", run_id=message.run_id[:50], part=type(message).__name__, error=str(error))
            refused[place] = error
    return made, refused


def _without(messages: Iterable[Message], refused: dict[int, HoldfastError]) -> Iterable[Message]:
    return (message for place, message in enumerate(messages) if place not in refused)
