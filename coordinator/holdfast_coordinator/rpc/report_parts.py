"""Takes a report apart: what is misshapen is refused by itself, all else goes its way."""

from dataclasses import dataclass
from datetime import timedelta

import structlog

from holdfast.api.v1 import worker_service_pb2 as pb
from holdfast.errors import HoldfastError, InvalidRequest
from holdfast.limits import Limits
from holdfast_coordinator.domain.commands import CommitTransition, ReportAttempt, SaveProgress
from holdfast_coordinator.engine.cells import Cells

from .report_messages import attempt_report, progress_report, transition

log = structlog.get_logger(__name__)

SAVES_MAX = 1_000


@dataclass(slots=True)
class ReportParts:
    """The parts of a report, and by their places in it why some are refused."""

    transitions: list[CommitTransition]
    attempts: list[ReportAttempt]
    refused_transitions: dict[int, HoldfastError]
    refused_attempts: dict[int, HoldfastError]


def parts_of(request: pb.ReportRequest, cells: Cells, limits: Limits, grace: timedelta) -> ReportParts:
    """The parts as the core takes them. grace: see report_messages.transition."""
    session_id = request.session_id
    parts = ReportParts([], [], {}, {})
    seen: set[str] = set()
    # Written out, as `transition` is: this is on the path of every step.
    for place, move in enumerate(request.transitions):
        try:
            asked = transition(session_id, move, limits, grace)
            run_id = asked.run_id
            if run_id in seen:
                raise InvalidRequest("transitions", f"run {run_id!r} has two in one report; send one after the other")
            seen.add(run_id)
            cells.of_run(run_id)
            parts.transitions.append(asked)
        except HoldfastError as error:
            seen.add(move.run_id)
            parts.refused_transitions[place] = _refused(move, error)
    for place, ended in enumerate(request.attempts):
        try:
            report = attempt_report(session_id, ended, limits)
            cells.of_run(report.run_id)
            parts.attempts.append(report)
        except HoldfastError as error:
            parts.refused_attempts[place] = _refused(ended, error)
    return parts


def saves_of(
    request: pb.SaveProgressRequest, cells: Cells, limits: Limits
) -> tuple[list[SaveProgress], dict[int, HoldfastError]]:
    """What is saved as the core takes it, and by their places in the request why some are refused."""
    saves: list[SaveProgress] = []
    refused: dict[int, HoldfastError] = {}
    if len(request.progress) > SAVES_MAX:
        raise InvalidRequest("progress", f"{len(request.progress):,} are given; at most {SAVES_MAX:,} at once")
    for place, message in enumerate(request.progress):
        try:
            save = progress_report(request.session_id, message, limits)
            cells.of_run(save.run_id)
            saves.append(save)
        except HoldfastError as error:
            refused[place] = _refused(message, error)
    return saves, refused


def _refused(message: pb.Transition | pb.AttemptReport | pb.ProgressReport, error: HoldfastError) -> HoldfastError:
    log.warning("report_refused", run_id=message.run_id[:50], part=type(message).__name__, error=str(error))
    return error
