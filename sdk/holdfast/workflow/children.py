"""Starting child runs: what a child is called and which arguments it gets. It never waits for one."""

from dataclasses import replace
from typing import Any

from holdfast.codec import Codec
from holdfast.definitions.business_ids import business_id
from holdfast.definitions.definitions import WorkflowDefinition
from holdfast.errors import HoldfastError, InvalidRequest
from holdfast.journal import Arguments
from holdfast.workflow.calls import ChildCall, ChildOptions
from holdfast.workflow.ledger import Ledger
from holdfast.workflow.loop import WorkflowLoop
from holdfast.workflow.tasks import Part


def child_arguments(
    codec: Codec,
    workflow: WorkflowDefinition,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: ChildOptions,
) -> tuple[Arguments, ChildOptions]:
    """The arguments of a child, and the options with the business id that it has.

    Raises ArgumentsRejected, PayloadNotSerializable, PayloadTooLarge, or InvalidRequest when the template of the
    business id cannot take the arguments.
    """
    what = f"workflow {workflow.name}"
    arguments = codec.encode_arguments(workflow.signature, args, kwargs, what=what, hashed=True)
    if options.id or not workflow.id_template:
        return arguments, options
    # As the child will see them: a client that starts the same makes the same id of them.
    args, kwargs = codec.decode_arguments(workflow.signature, arguments, what=what)
    return arguments, replace(options, id=_child_id(workflow, args, kwargs))


def start_child(
    loop: WorkflowLoop,
    ledger: Ledger,
    parent_run_id: str,
    workflow: WorkflowDefinition,
    arguments: Arguments,
    options: ChildOptions,
    part: Part | None = None,
) -> ChildCall:
    """Ask for a child run. Its run id is known at once, since it is made of the parent's and the number.

    A run that continues another one has children of that one, with the ids that they had: its journal says so.

    part: the named part of the code that starts it.
    """
    number = ledger.next_child_number()
    run_id = ledger.child_run_id(parent_run_id, number)
    call = ChildCall(loop, ledger, workflow, arguments, number=number, run_id=run_id, options=options)
    call.part = part
    ledger.ask(call)
    return call


def _child_id(workflow: WorkflowDefinition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """The business id of a child. Raises InvalidRequest where its template makes none of the arguments."""
    try:
        return business_id(workflow, args, kwargs)
    except HoldfastError:
        raise
    except Exception as error:
        raise InvalidRequest("id", str(error)) from error
