"""Why a hint is refused, and why a value does not fit one, in words. Pure."""

from typing import TYPE_CHECKING, Any, TypeGuard, get_args

if TYPE_CHECKING:
    from pydantic_core import ValidationError


class HopelessHint(TypeError):
    """No value can be stored and read back as this hint says. The text says why, and what to write instead."""


class UnknownYet(Exception):
    """The hint names something that is not defined so far."""


def is_misfit(error: Exception) -> "TypeGuard[ValidationError]":
    """True for pydantic's own "this value does not fit", false for whatever else decoding has raised."""
    # Imported here: what is imported where steps are defined should not bring pydantic along.
    from pydantic_core import ValidationError

    return isinstance(error, ValidationError)


def problem_of(error: Exception) -> str:
    """Why a value could not be read, in one line: where in it, and what was wrong."""
    if not is_misfit(error):
        return (str(error) or type(error).__name__).partition("\n")[0]
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    text = first["msg"][:1].lower() + first["msg"][1:]
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{where}: {text}{more}" if where else f"{text}{more}"


def named(hint: Any) -> str:
    """The hint in words, as it is written in code."""
    return hint.__qualname__ if isinstance(hint, type) and not get_args(hint) else str(hint)
