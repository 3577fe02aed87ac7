"""`start_child`: a child run that is started and not awaited at once, by its handle."""

from dataclasses import fields
from typing import Any, ParamSpec, TypeVar

from holdfast.authoring.primitives import _runtime
from holdfast.authoring.starter import StartOptions
from holdfast.authoring.workflows import Workflow, WorkflowStart
from holdfast.statuses import ClosePolicy
from holdfast.workflow.calls import ChildOptions
from holdfast.workflow.child_handles import ChildHandle

P = ParamSpec("P")
R = TypeVar("R")

_POLICIES = {
    None: ClosePolicy.CANCEL,
    "cancel": ClosePolicy.CANCEL,
    "abandon": ClosePolicy.ABANDON,
    "terminate": ClosePolicy.TERMINATE,
}
_TAKEN = ("id", "queue", "max_duration", "on_close")
_DEFAULTS = StartOptions()


def start_child(workflow: Workflow[P, R] | WorkflowStart[P, R], /, *args: P.args, **kwargs: P.kwargs) -> ChildHandle[R]:
    """Starts a child run and goes on: `handle = holdfast.start_child(ship, "o-1")`, later `await handle.result()`.

    In a plain `def` workflow without `await`.

    Its run id is known at once; it is there when what the code asks for here is committed, also if nobody ever asks for
    its result. Options are `ship.with_options(id="ship-1", queue="ships", max_duration="1h", on_close="abandon")`.
    on_close: what happens to the child when this run closes, however it does: "cancel" asks it to end, "terminate" ends
    it at once, "abandon" leaves it alone.
    Raises ArgumentsRejected, PayloadNotSerializable and PayloadTooLarge, InvalidRequest for options that a child cannot
    have, and RuntimeError outside a run.
    """
    runtime = _runtime("start_child")
    if isinstance(workflow, WorkflowStart):
        definition, options = workflow.definition, _options(workflow)
    elif isinstance(workflow, Workflow):
        definition, options = workflow.definition, ChildOptions()
    else:
        raise TypeError(f"start_child takes a function decorated with @workflow, not {workflow!r}")
    return runtime.start_child(definition, args, kwargs, options)


def _options(start: WorkflowStart[Any, Any]) -> ChildOptions:
    options = start.options
    for field in fields(StartOptions):
        given = getattr(options, field.name)
        if field.name not in _TAKEN and given != getattr(_DEFAULTS, field.name):
            raise ValueError(
                f"start_child: {field.name} is {given!r}, but a child of {start.definition.name} takes only "
                f"{', '.join(_TAKEN)}"
            )
    return ChildOptions(options.id, options.queue, options.max_duration, _POLICIES[options.on_close])
