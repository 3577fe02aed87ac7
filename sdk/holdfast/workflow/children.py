"""Starting child runs: what a child is called and which arguments it gets. It never waits for one."""

from typing import Any

from holdfast.codec import Codec
from holdfast.definitions.business_ids import business_id
from holdfast.definitions.definitions import WorkflowDefinition
from holdfast.errors import HoldfastError, InvalidRequest
from holdfast.ids import child_run_id
from holdfast.journal import Arguments
from holdfast.workflow.calls import ChildCall
from holdfast.workflow.ledger import Ledger
from holdfast.workflow.loop import WorkflowLoop
from holdfast.workflow.tasks import Part


def child_arguments(
    codec: Codec, workflow: WorkflowDefinition, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Arguments, str]:
    """The arguments of a child and its business id.

    Raises ArgumentsRejected, PayloadNotSerializable, PayloadTooLarge, or InvalidRequest when the template of the
    business id cannot take the arguments.
    """
    what = f"workflow {workflow.name}"
    arguments = codec.encode_arguments(workflow.signature, args, kwargs, what=what, hashed=True)
    if workflow.id_template:
        # As the child will see them: a client that starts the same makes the same id of them.
        args, kwargs = codec.decode_arguments(workflow.signature, arguments, what=what)
    return arguments, _child_id(workflow, args, kwargs)


def start_child(
    loop: WorkflowLoop,
    ledger: Ledger,
    parent_run_id: str,
    workflow: WorkflowDefinition,
    arguments: Arguments,
    id: str,
    part: Part | None = None,
) -> ChildCall:
    """Ask for a child run. Its run id is known at once, since it is made of the parent's and the number.

    part: the named part of the code that starts it.
    """
    number = ledger.next_child_number()
    run_id = child_run_id(parent_run_id, number)
    call = ChildCall(loop, ledger, workflow, arguments, number=number, run_id=run_id, id=id)
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
