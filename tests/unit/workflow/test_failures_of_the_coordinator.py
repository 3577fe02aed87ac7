"""Failures that the coordinator itself states name no step; the code still learns which one failed."""

from datetime import UTC, datetime

from holdfast import App, StepFailed
from holdfast.codec import Codec
from holdfast.journal import (
    Arguments,
    AttemptRecord,
    Failure,
    Mail,
    MailConsumed,
    RunStarted,
    StepResult,
)
from holdfast.statuses import AttemptOutcome
from holdfast.workflow.commands import Close
from holdfast.workflow.current_run import RunInfo
from holdfast.workflow.instance import WorkflowInstance

AT = datetime(2030, 1, 1, tzinfo=UTC)
app = App("coordinator-failures")


@app.step(placement="queued", recoveries=1)
async def charge() -> int:
    return 1


@app.workflow
async def order() -> str:
    try:
        await charge()
    except StepFailed as failed:
        return f"{failed.step} {failed.number} {failed.attempts} {failed.error_type}"
    return "no failure"


def test_a_queued_step_whose_workers_were_lost_too_often_fails_with_its_own_name_and_attempts() -> None:
    info = RunInfo("run_00" + "0" * 26, "order")
    instance = WorkflowInstance(order.definition, info, Arguments(), codec=Codec())
    instance.feed(RunStarted(AT, "order"))
    instance.take_commands()
    lost = [AttemptRecord(number, AttemptOutcome.LOST, AT, AT, AT, AT) for number in (1, 2)]
    failure = Failure("MaxRecoveryAttempts", "max recovery attempts (1) exceeded")
    instance.feed(MailConsumed(AT, 1, Mail(1, AT, StepResult(1, tuple(lost), failure=failure))))
    (close,) = instance.take_commands()
    assert isinstance(close, Close)
    assert close.result is not None
    assert close.result.data == b'"charge 1 2 MaxRecoveryAttempts"'
