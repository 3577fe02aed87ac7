"""How the code of a run says that it continues as new: an exception that ends the workflow function."""

from holdfast.journal import Arguments


class ContinueAsNew(BaseException):
    """Ends the workflow function, whose run closes and goes on as a new one with these arguments.

    Not an Exception: no handler of the user may take it for a failure and carry on.
    """

    def __init__(self, arguments: Arguments) -> None:
        super().__init__("the run continues as new")
        self.arguments = arguments


def continuing(error: BaseException) -> ContinueAsNew | None:
    """The one that has ended the function, also where the body of a TaskGroup has raised it; else None."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error if isinstance(error, ContinueAsNew) else None
