"""The one tree of errors. Each names its condition, carries the facts, and says what to do.

Shared by the SDK and the coordinator. Internal control flow never passes through here: it derives from
BaseException, so that a user's `except Exception` is safe.
"""

import contextlib
import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any


class HoldfastError(Exception):
    """What every error of holdfast derives from. It can be pickled and copied, whatever its constructor takes."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[HoldfastError], args: tuple[Any, ...], attributes: dict[str, Any]) -> HoldfastError:
    made = kind.__new__(kind, *args)
    made.__dict__.update(attributes)
    return made


def add_note(error: BaseException, note: str) -> None:
    """Adds a note to an error, which is shown below its traceback, where its class lets anything be set.

    That of a frozen dataclass does not.
    """
    with contextlib.suppress(AttributeError):
        error.add_note(note)


class OriginalError(HoldfastError):
    """Stands, with its text, for an error that cannot be made again: some of its facts cannot be stored.

    error_class: where its class is, "package.module:Name".
    """

    def __init__(self, error_type: str, message: str, error_class: str = "") -> None:
        super().__init__(message)
        self.error_type = error_type
        self.message = message
        self.error_class = error_class


class RunFailed(HoldfastError):
    """A run ended without a result. `__cause__` is the original error, where its class can be imported.

    cut: the texts were too long to be stored whole.
    """

    cut = False
    failure: Any = None
    """What it was made of, as it is stored."""

    def __init__(self, run_id: str, error_type: str, message: str, traceback: str = "") -> None:
        super().__init__(self._sentence(run_id, error_type, message))
        self.run_id = run_id
        self.error_type = error_type
        self.message = message
        self.traceback = traceback

    @staticmethod
    def _sentence(run_id: str, error_type: str, message: str) -> str:
        return f"run {run_id} failed with {error_type}: {message}"


class RunCancelled(RunFailed):
    """A run was cancelled or terminated; `message` is the reason that was given, `error_type` says which of both."""

    @staticmethod
    def _sentence(run_id: str, error_type: str, message: str) -> str:
        how = "terminated" if error_type == "RunTerminated" else "cancelled"
        return f"run {run_id} was {how}{f': {message}' if message else ''}"


class RunTimedOut(RunFailed):
    """A run passed its deadline."""

    @staticmethod
    def _sentence(run_id: str, error_type: str, message: str) -> str:
        return f"run {run_id} timed out{f': {message}' if message else ''}"


class RunAlreadyStarted(HoldfastError):
    """An open run has this id, and the start asked to be refused then."""

    def __init__(self, id: str, run_id: str) -> None:
        super().__init__(
            f"run {run_id} with id {id!r} is open; wait for it, choose another id, "
            'or start with on_conflict="attach" to join it'
        )
        self.id = id
        self.run_id = run_id


class RunAlreadyClosed(HoldfastError):
    """The run has ended, so it takes no more messages."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id} is closed and takes no more messages")
        self.run_id = run_id


class HookNotFound(HoldfastError):
    """No open hook has this token."""

    def __init__(self) -> None:
        super().__init__(
            "no hook has this token, or its run has ended without anything for it; "
            "deliver with the token as it was given out, to the coordinator that the run is of"
        )


class HookAlreadyReceived(HoldfastError):
    """Something was delivered to the hook before. Nothing was changed."""

    def __init__(self) -> None:
        super().__init__("the hook of this token has already received something, and it takes one payload")


class HookExpired(HoldfastError):
    """The time of the hook has passed, and nothing was delivered."""

    def __init__(self) -> None:
        super().__init__("the hook of this token has expired: its timeout has passed, and the run went on without it")


class RunConflict(HoldfastError):
    """A run with this id or idempotency key exists and was started with other arguments or another workflow."""

    def __init__(self, key: str, run_id: str, *, difference: str) -> None:
        super().__init__(
            f"{key} belongs to run {run_id}, which was started with {difference}; "
            "use another id or key, start with the same arguments, or, when that run is closed, start another one with "
            'reuse="new"'
        )
        self.key = key
        self.run_id = run_id
        self.difference = difference


class RunNotFound(HoldfastError):
    """No run has this run id or business id in the namespace."""

    def __init__(self, run: str, *, namespace: str = "default") -> None:
        super().__init__(f"no run {run!r} in namespace {namespace!r}; `holdfast runs list` shows what is there")
        self.run = run
        self.namespace = namespace


class KeyNotPublished(HoldfastError):
    """A run has published nothing under a key, or not yet."""

    def __init__(self, run: str, key: str) -> None:
        super().__init__(
            f"run {run} has published nothing under {key!r}; its code does with holdfast.publish({key!r}, ...), "
            "and `holdfast runs history` shows what it has"
        )
        self.run = run
        self.key = key


class RunNotRetryable(HoldfastError):
    """Only a failed, timed out, cancelled or terminated run can be continued at its failed step.

    A completed one can be where tasks of a graph are named that run again, and are part of it.
    """

    def __init__(self, run_id: str, status: str) -> None:
        super().__init__(
            f"run {run_id} is {status}; only a failed, timed out, cancelled or terminated run can be retried, and a "
            "completed one from tasks of its graph that it has run"
        )
        self.run_id = run_id
        self.status = status


class RunNotStalled(HoldfastError):
    """Only a stalled run can be offered again."""

    def __init__(self, run_id: str, status: str) -> None:
        super().__init__(f"run {run_id} is {status}, not stalled; there is nothing to resume")
        self.run_id = run_id
        self.status = status


class StepFailed(HoldfastError):
    """A step failed for good. `__cause__` is the original error, where its class can be imported.

    cut: the texts were too long to be stored whole.
    """

    cut = False
    failure: Any = None
    """What it was made of, as it is stored."""

    def __init__(
        self, step: str, *, number: int, attempts: int, error_type: str, message: str, traceback: str = ""
    ) -> None:
        super().__init__(f"step {step} ({number}) failed after {attempts} attempt(s) with {error_type}: {message}")
        self.step = step
        self.number = number
        self.attempts = attempts
        self.error_type = error_type
        self.message = message
        self.traceback = traceback


class NonDeterminism(HoldfastError):
    """The code does not do what the journal says it did. The run is stalled, not failed: deploy fitting code.

    asked: what the code asked for in the place of what was expected, as the runtime holds it; None where unknown.
    """

    def __init__(self, *, position: int, expected: str, actual: str, asked: object = None) -> None:
        self.difference = (
            f"the code does not match the journal at entry {position}: expected {expected}, but the code {actual}"
        )
        super().__init__(
            f"{self.difference}; deploy the code that this run was started with, or code that does the same up to here"
        )
        self.position = position
        self.expected = expected
        self.actual = actual
        self.asked = asked


class UnguardedCall(HoldfastError):
    """Code of a run asked for something that a replay cannot repeat. Nothing was done.

    call: what was asked for. instead: what to write in its place.
    """

    def __init__(self, call: str, *, instead: str) -> None:
        super().__init__(f"{call} cannot be repeated when workflow code is replayed: {instead}")
        self.call = call
        self.instead = instead


class NotAwaited(HoldfastError):
    """Code of a run called something and never awaited it, so it was not done. The run fails with this.

    call: what was called. filename, line: where.
    """

    OR_TOGETHER = "or give the call to asyncio.gather, asyncio.create_task or a TaskGroup"
    """What else may be done with a call; `holdfast check` says so too."""

    IN_PLAIN_CODE = (
        "plain `def` code cannot await: call steps, workflows, `holdfast.sleep` and the like without `.call`, and give "
        "calls of `async def` functions to `holdfast.parallel`"
    )
    """What to do with it in a plain `def` workflow; `holdfast check` says so too."""

    def __init__(self, call: str, *, filename: str, line: int, can_await: bool = True) -> None:
        way_out = f"write `await {call}(...)`, {self.OR_TOGETHER}" if can_await else self.IN_PLAIN_CODE
        super().__init__(
            f"{call}, {os.path.basename(filename)} line {line}, was called and never awaited, so it was not done; "
            f"{way_out}"
        )
        self.call = call
        self.filename = filename
        self.line = line


class DuplicateStepId(HoldfastError):
    """Two calls of one run gave the same step_id."""

    def __init__(self, step_id: str) -> None:
        super().__init__(f"step_id {step_id!r} is used twice in this run; give each call its own")
        self.step_id = step_id


class CodecMissing(HoldfastError):
    """A value is encoded in a way that this client or worker cannot read. Nothing was changed or lost.

    encoding: how it is encoded, as "json+aes-gcm/2026-11"; the last part is what is missing.
    """

    def __init__(self, encoding: str) -> None:
        name, _, text = encoding.rpartition("+")[2].partition("/")
        known = {"zlib": "Compress()", "offload": "Offload(...)", "pickle": "Pickle()"}
        if name == "aes-gcm":
            what = f"AesGcm with the key {text!r}, or has another key of that id"
            instead = f"give it that key: codecs=[AesGcm({{{text!r}: ...}})]"
        elif name == "offload" and text:
            what, instead = f"object {text} of the store", "give it codecs=[Offload(...)] with the store that has it"
        else:
            what = f"the codec {name!r}"
            instead = f"give it codecs=[{known[name]}]" if name in known else "give it that one in codecs=[...]"
        super().__init__(
            f"a value is encoded as {encoding}, and this process does not have {what}; {instead}, and resume the run "
            "where it is stalled"
        )
        self.encoding = encoding


class PayloadTooLarge(HoldfastError):
    """A value is larger than the limit. Nothing was recorded."""

    def __init__(self, what: str, *, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"{what} has {size_bytes:,} bytes, the limit is {limit_bytes:,}; "
            "store it elsewhere and pass a reference, or raise the limit of the coordinator"
        )
        self.what = what
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class PayloadNotSerializable(HoldfastError):
    """A value cannot be encoded, or does not fit the type that the code declares. Never retried."""

    def __init__(self, what: str, *, type_name: str, reason: str, is_read: bool = False) -> None:
        """type_name: of the value, or with is_read the type that the stored value was to be read as."""
        done = f"cannot be read as {type_name}" if is_read else f"of type {type_name} cannot be encoded"
        super().__init__(f"{what} {done}: {reason}")
        self.what = what
        self.type_name = type_name
        self.reason = reason


class ArgumentsRejected(HoldfastError):
    """The arguments do not fit the parameters of a workflow or step."""

    def __init__(self, target: str, *, parameter: str, reason: str) -> None:
        super().__init__(f"{target}: argument {parameter!r} {reason}")
        self.target = target
        self.parameter = parameter
        self.reason = reason


class WorkflowNotRegistered(HoldfastError):
    """Workers serve the queue and none has ever registered this workflow."""

    def __init__(self, workflow: str, *, namespace: str = "default", suggestion: str = "") -> None:
        hint = f"did you mean {suggestion!r}?" if suggestion else "start a worker whose modules define it"
        super().__init__(f"no worker of namespace {namespace!r} has registered the workflow {workflow!r}; {hint}")
        self.workflow = workflow
        self.namespace = namespace
        self.suggestion = suggestion


class NamespaceNotFound(HoldfastError):
    """The namespace does not exist."""

    def __init__(self, namespace: str) -> None:
        super().__init__(
            f"namespace {namespace!r} does not exist; create it with `holdfast serve --namespace {namespace}`"
        )
        self.namespace = namespace


class LimitExceeded(HoldfastError):
    """A run has come to a limit of the coordinator. The message names the limit, its value and the way out."""


class InvalidRequest(HoldfastError):
    """A request is malformed. `field` says where, the message what to do."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.problem = message


class CoordinatorUnavailable(HoldfastError):
    """The coordinator cannot be reached, or cannot commit now. The call may be repeated.

    is_reached: a coordinator has answered, and `detail` is what it said: most often its database is away.
    """

    def __init__(self, address: str, detail: str = "", *, is_reached: bool = False) -> None:
        why = f" ({detail})" if detail else ""
        super().__init__(
            f"the coordinator{f' at {address}' if address else ''} cannot do this now{why}; "
            "repeat the call, and look into the log of the coordinator if that does not help"
            if is_reached
            else f"no coordinator answers at {address}{why}; start one with `holdfast dev`, or set HOLDFAST_ADDRESS"
        )
        self.address = address
        self.detail = detail
        self.is_reached = is_reached


class CoordinatorOverloaded(CoordinatorUnavailable):
    """The coordinator has more to do than it gets done, and has recorded nothing of this call. Repeat it later."""

    def __init__(self, *, retry_after_seconds: float, detail: str = "") -> None:
        super().__init__("", detail, is_reached=True)
        self.args = (
            f"the coordinator is overloaded{f' ({detail})' if detail else ''}; nothing was recorded, "
            f"repeat the call after {retry_after_seconds:g} s",
        )
        self.retry_after_seconds = retry_after_seconds


class RunBusy(CoordinatorUnavailable):
    """Another transaction of the database has the rows of the run for too long. Nothing was recorded; repeat it."""

    def __init__(self, run_id: str) -> None:
        super().__init__("", "the run is locked", is_reached=True)
        self.args = (
            f"run {run_id} is locked by another transaction of the database; nothing was recorded, repeat the call "
            "(pg_stat_activity shows which transactions are open for long)",
        )
        self.run_id = run_id


class TracingOff(HoldfastError):
    """The coordinator exports no traces, since no collector is configured."""

    def __init__(self) -> None:
        super().__init__(
            "this coordinator exports no traces; start the coordinator with --otlp URL, or look at the run with "
            "`holdfast trace show`"
        )


class CollectorUnavailable(HoldfastError):
    """The collector that the coordinator exports traces to does not take them now. The call may be repeated."""

    def __init__(self, collector: str, detail: str = "") -> None:
        super().__init__(
            f"the collector at {collector} takes no spans now{f' ({detail})' if detail else ''}; "
            "see that it runs and export again"
        )
        self.collector = collector
        self.detail = detail


class CollectorRefused(HoldfastError):
    """The collector that the coordinator exports traces to will never take them. To repeat the call is no use."""

    def __init__(self, collector: str, detail: str = "") -> None:
        super().__init__(
            f"the collector at {collector} refuses spans{f' ({detail})' if detail else ''}; "
            "see that the coordinator's --otlp URL and OTEL_EXPORTER_OTLP_HEADERS are what it wants"
        )
        self.collector = collector
        self.detail = detail


class PermissionDenied(HoldfastError):
    """The caller may not do this."""


class FatalError(HoldfastError):
    """Raised by user code: the step is not retried."""


class RetryableError(HoldfastError):
    """Raised by user code: the step is retried, after `retry_after` where given, else as its policy says.

    retry_after: a duration ("30s", seconds, timedelta) or the datetime of the next attempt.
    """

    def __init__(self, *args: object, retry_after: "str | float | timedelta | datetime | None" = None) -> None:
        super().__init__(*args)
        self.retry_after = retry_after


class Refused(HoldfastError):
    """An answer of the coordinator that this SDK has no type for; `reason` and `facts` are as sent."""

    def __init__(self, reason: str, message: str, facts: Mapping[str, str]) -> None:
        super().__init__(message)
        self.reason = reason
        self.facts = dict(facts)
