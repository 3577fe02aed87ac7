"""Reads the arguments of a workflow from the command line. Pure but for reading stdin and files."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer

INPUT_OPTION = "--input"
ARGUMENT_OPTION = "--arg"

Call = tuple[tuple[Any, ...], dict[str, Any]]


def parse_call(given: str | None, named: Iterable[str]) -> Call:
    """The arguments that `--input` and `--arg` mean together.

    given: JSON. An array holds positional arguments, an object named ones, anything else is the only argument;
    "-" reads it from stdin, "@path" from a file. named: KEY=VALUE, the value as JSON when it is JSON, else text.
    Raises typer.BadParameter (exit code 2) with what is wrong.
    """
    args, kwargs = ((), {}) if given is None else _call_of(_parsed(_text_of(given)))
    for text in named:
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise typer.BadParameter(
                f"{text!r} is not NAME=VALUE with the name of a parameter", param_hint=ARGUMENT_OPTION
            )
        if key in kwargs:
            raise typer.BadParameter(f"{key!r} is given twice", param_hint=ARGUMENT_OPTION)
        kwargs[key] = _json_or_text(value)
    return args, kwargs


def parse_value(text: str, *, hint: str) -> Any:
    """One JSON value. Raises typer.BadParameter that says where it is malformed."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise typer.BadParameter(
            f"is not JSON ({error.msg} at {where}): {_shortened(text)}; "
            """texts need double quotes, for example '"o-1"' or '["o-1", 9.99]'""",
            param_hint=hint,
        ) from None


def _call_of(value: Any) -> Call:
    if isinstance(value, list):
        return tuple(value), {}
    if isinstance(value, dict):
        return (), value
    return (value,), {}


def _parsed(text: str) -> Any:
    return parse_value(text, hint=INPUT_OPTION)


def _text_of(given: str) -> str:
    if given == "-":
        return sys.stdin.read()
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{given[1:]!r} cannot be read: {error}", param_hint=INPUT_OPTION) from None


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
