"""`holdfast check`: finds in workflow code, without running it, what a replay cannot repeat."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.options import note
from holdfast.errors import HoldfastError

if TYPE_CHECKING:
    from holdfast.lint import Finding


class CheckOutput(StrEnum):
    """How findings are printed."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"


PathsArgument = Annotated[
    list[Path] | None,
    typer.Argument(metavar="PATH...", help="Files and directories; else the current directory.", show_default=False),
]
SelectOption = Annotated[
    list[str] | None,
    typer.Option("--select", help="Only these rules: codes or beginnings, with commas.", show_default=False),
]
IgnoreOption = Annotated[
    list[str] | None,
    typer.Option("--ignore", help="Not these rules: codes or beginnings, with commas.", show_default=False),
]


def check(
    paths: PathsArgument = None,
    select: SelectOption = None,
    ignore: IgnoreOption = None,
    output: Annotated[CheckOutput, typer.Option("--output", "-o", help="How to print.")] = CheckOutput.TEXT,
) -> None:
    """Find in the source of workflows what a replay cannot repeat. The code is parsed, never imported.

    Exit code 1 when something is found, 2 when a path or a rule is not known.
    """
    from holdfast.lint import PathNotFound, RuleUnknown, check_files, python_files, selected_codes

    try:
        codes = selected_codes(_codes(select), _codes(ignore))
    except RuleUnknown as error:
        raise typer.BadParameter(str(error), param_hint="--select, --ignore") from None
    try:
        files = python_files(paths or [Path()])
    except PathNotFound as error:
        raise typer.BadParameter(str(error), param_hint="PATH") from None
    try:
        findings = check_files(files, codes)
    except OSError as error:
        raise HoldfastError(f"{error.filename} cannot be read: {error.strerror}") from error
    _print(findings, output)
    if output is CheckOutput.TEXT:
        problems = _counted(len(findings), "problem") if findings else "no problem"
        note(f"{_counted(len(files), 'file')} checked: {problems}")
    if findings:
        raise typer.Exit(1)


def _codes(given: list[str] | None) -> list[str]:
    return [code.strip() for text in given or () for code in text.split(",")]


def _print(findings: "list[Finding]", output: CheckOutput) -> None:
    match output:
        case CheckOutput.TEXT:
            for one in findings:
                typer.echo(f"{one.path}:{one.line}:{one.column}: {one.code} {one.message}")
        case CheckOutput.JSON:
            shown = [
                {
                    "path": str(one.path),
                    "line": one.line,
                    "column": one.column,
                    "code": one.code,
                    "message": one.message,
                }
                for one in findings
            ]
            typer.echo(json.dumps(shown, ensure_ascii=False, indent=2))
        case CheckOutput.GITHUB:
            for one in findings:
                place = f"file={_property(str(one.path))},line={one.line},col={one.column},title={one.code}"
                typer.echo(f"::error {place}::{_escaped(one.message)}")


def _escaped(text: str) -> str:
    """A text as workflow commands of GitHub take it."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
