"""What tests assert of a run, with messages that say what it did instead."""

import re
from collections.abc import Mapping
from typing import Any, Protocol

from holdfast.authoring.steps import Step
from holdfast.codec import Codec
from holdfast.definitions.definitions import StepDefinition
from holdfast.journal import Entry, Failure, StepScheduled
from holdfast.statuses import RunStatus
from holdfast.testing.overrides import name_of_step

_ANY: Any = object()
_codec = Codec()


class TriedRun(Protocol):
    """A run of `run_local` or of an `Environment`."""

    @property
    def run_id(self) -> str: ...
    @property
    def workflow(self) -> str: ...
    @property
    def status(self) -> RunStatus: ...
    @property
    def waits(self) -> tuple[str, ...]: ...
    @property
    def failure(self) -> Failure | None: ...
    @property
    def history(self) -> tuple[Entry, ...]: ...
    def value(self) -> Any: ...


def assert_completed(run: TriedRun, result: Any = _ANY) -> None:
    """The run has completed, with this result where one is given."""
    if run.status is not RunStatus.COMPLETED:
        raise AssertionError(f"the run of {run.workflow} has not completed: {_how(run)}")
    if result is not _ANY:
        value = run.value()
        assert value == result, f"the run of {run.workflow} completed with {value!r}, not {result!r}"


def assert_failed(run: TriedRun, error: type[BaseException] | str | None = None, *, match: str = "") -> None:
    """The run has failed. error: the class of what was raised, or its name. match: a pattern in its message."""
    failure = run.failure
    if run.status is not RunStatus.FAILED or failure is None:
        raise AssertionError(f"the run of {run.workflow} has not failed: {_how(run)}")
    name = error.__name__ if isinstance(error, type) else error
    if name is not None and failure.error_type != name:
        raise AssertionError(f"the run of {run.workflow} did not fail with {name}: {_how(run)}")
    if match and not re.search(match, failure.message):
        raise AssertionError(f"the run of {run.workflow} did not fail with a message like {match!r}: {_how(run)}")


def assert_waits_for(run: TriedRun, what: str) -> None:
    """The run is open and waits for this, as in "signal approval" or "step charge"."""
    if not any(one == what or one.startswith(f"{what} ") for one in run.waits):
        raise AssertionError(f"the run of {run.workflow} does not wait for {what}: {_how(run)}")


def assert_step_called(run: TriedRun, step: Step[..., Any] | str, *args: Any, **kwargs: Any) -> None:
    """The run has called the step; with these arguments, where any are given.

    However often it was attempted, a call counts once. Raises NoSuchStep for a name that no step has.
    """
    name = name_of_step("assert_step_called", step)
    calls = [entry for entry in run.history if isinstance(entry, StepScheduled) and entry.name == name]
    if not calls:
        raise AssertionError(f"the run of {run.workflow} has not called step {name}; {_called(run)}")
    if not args and not kwargs:
        return
    definition = step.definition if isinstance(step, Step) else None
    seen = [_read(call, definition) for call in calls]
    wanted = _bound(args, kwargs, definition)
    if wanted not in seen:
        given = "; ".join(_shown(one) for one in seen)
        raise AssertionError(f"the run of {run.workflow} has not called step {name}{_shown(wanted)}, but with {given}")


def assert_step_not_called(run: TriedRun, step: Step[..., Any] | str) -> None:
    """The run has not called the step. Raises NoSuchStep for a name that no step has."""
    name = name_of_step("assert_step_not_called", step)
    calls = [entry for entry in run.history if isinstance(entry, StepScheduled) and entry.name == name]
    if calls:
        raise AssertionError(f"the run of {run.workflow} has called step {name}, as number {calls[0].number}")


_Call = tuple[tuple[Any, ...], Mapping[str, Any]]


def _read(call: StepScheduled, definition: StepDefinition | None) -> _Call:
    if definition is None:
        positional = tuple(_codec.decode(one, Any, what="an argument") for one in call.arguments.positional)
        return positional, {name: _codec.decode(one, Any, what=name) for name, one in call.arguments.named.items()}
    args, kwargs = _codec.decode_arguments(definition.signature, call.arguments, what=f"step {call.name}")
    return _bound(args, kwargs, definition)


def _bound(args: tuple[Any, ...], kwargs: Mapping[str, Any], definition: StepDefinition | None) -> _Call:
    """The call with all arguments by name, so that it is equal however it was written."""
    if definition is None:
        return args, dict(kwargs)
    return (), definition.signature.bound_by_name(args, kwargs, target=f"step {definition.name}")


def _shown(call: _Call) -> str:
    args, kwargs = call
    return f"({', '.join([*map(repr, args), *(f'{name}={value!r}' for name, value in kwargs.items())])})"


def _called(run: TriedRun) -> str:
    names = [entry.name for entry in run.history if isinstance(entry, StepScheduled)]
    return f"it called {', '.join(names)}" if names else "it called none"


def _how(run: TriedRun) -> str:
    if run.failure is not None:
        return f"it is {run.status} with {run.failure.error_type}: {run.failure.message}"
    waits = f" and waits for {', '.join(run.waits)}" if run.waits else ""
    return f"it is {run.status}{waits}"
