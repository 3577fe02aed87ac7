"""The journal entry that records what workflow code asked for; of a step, its call only. Pure."""

from datetime import datetime
from typing import assert_never

from holdfast.journal import (
    ChildCancelled,
    ChildStarted,
    Entry,
    MailSent,
    MetadataSet,
    Noted,
    Patched,
    Published,
    RunClosed,
    SignalSetAside,
    StepScheduled,
    StepSkipped,
    TimerCancelled,
    TimerSet,
    UserSpan,
    UserSpanBegan,
)
from holdfast.statuses import Placement
from holdfast.workflow import commands

NumberedCommand = (
    commands.SetTimer
    | commands.CancelTimer
    | commands.StartChild
    | commands.CancelChild
    | commands.SendMail
    | commands.SetMetadata
    | commands.EnterSpan
    | commands.LeaveSpan
    | commands.SkipStep
    | commands.SetSignalAside
    | commands.MarkPatched
    | commands.WriteNote
    | commands.PublishValue
    | commands.Close
)


def step_scheduled(
    call: commands.CallStep, at: datetime, *, inline: bool, started: bool, seed: str = ""
) -> StepScheduled:
    """The entry of a step call. started: its first attempt begins with this entry. seed: of a run that continues
    another one; a queued step takes it along.
    """
    options = call.options
    return StepScheduled(
        at,
        call.number,
        call.definition.name,
        call.arguments,
        call.step_id,
        Placement.INLINE if inline else Placement.QUEUED,
        options.queue,
        options.priority,
        options.timeout,
        options.recoveries,
        call.retry,
        started,
        "" if inline else seed,
        call.span,
        call.independent,
    )


def recorded(command: NumberedCommand, at: datetime) -> Entry:
    """The entry of any other command."""
    match command:
        case commands.SetTimer():
            return TimerSet(
                at, command.number, command.name, command.delay, command.until, command.signal, command.span,
                command.hook, command.hook_sha256,
            )  # fmt: skip
        case commands.CancelTimer():
            return TimerCancelled(at, command.number)
        case commands.StartChild():
            return ChildStarted(
                at,
                command.number,
                command.workflow,
                command.run_id,
                command.arguments,
                command.id,
                command.queue,
                command.max_duration,
                command.close_policy,
                command.span,
            )
        case commands.CancelChild():
            return ChildCancelled(at, command.number)
        case commands.SendMail():
            return MailSent(
                at, command.number, command.message, command.after, command.signal, command.payload, command.reason
            )
        case commands.SetMetadata():
            return MetadataSet(at, command.key, command.value)
        case commands.EnterSpan():
            return UserSpanBegan(at, command.number, command.name, command.began_at, command.parent)
        case commands.LeaveSpan():
            return UserSpan(at, command.number, command.name, command.began_at, command.parent, command.error_type)
        case commands.SkipStep():
            return StepSkipped(at, command.number, command.name, command.step_id, command.failure)
        case commands.SetSignalAside():
            return SignalSetAside(at, command.number, command.name, command.problem)
        case commands.MarkPatched():
            return Patched(at, command.change_id)
        case commands.WriteNote():
            return Noted(at, command.text, command.level, command.facts, command.span)
        case commands.PublishValue():
            return Published(at, command.key, command.value)
        case commands.Close():
            return RunClosed(
                at,
                command.status,
                command.result,
                command.failure,
                command.successor_run_id,
                command.arguments,
                command.signals,
            )
        case _:
            assert_never(command)
