"""`continue_as_new`: a run closes, and the same workflow goes on as a new run with a journal of its own."""

from typing import Any, NoReturn

from holdfast.authoring.primitives import _runtime


def continue_as_new(*args: Any, **kwargs: Any) -> NoReturn:
    """Ends the run, which goes on as a new run of the same workflow, called with these arguments.

    For what goes on for long: a journal does not grow without end. The new run has the business id, the parent, the
    deadline and the metadata of this one; signals that nobody has taken are there for it, and whoever waits for this
    run, by any handle, gets the result of the last one. Children of this run end by their policy (`on_close`).
    It never returns: `finally` blocks run, then the run closes as continued_as_new. Call it in the workflow function.
    Raises ArgumentsRejected when the workflow cannot be called so, PayloadNotSerializable, PayloadTooLarge, and
    RuntimeError outside a run, and in tasks and handlers beside the workflow function.
    """
    _runtime("continue_as_new").continue_as_new(args, kwargs)
