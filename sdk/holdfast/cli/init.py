"""`holdfast init`: writes a small project that runs, with its tests."""

import re
from pathlib import Path
from typing import Annotated

import typer

from holdfast.cli.project_template import files_of_project
from holdfast.errors import HoldfastError

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
"""What packaging takes for the name of a project."""


def init(
    name: Annotated[
        str | None,
        typer.Argument(help="A directory to make for the project; else it is made in this one.", show_default=False),
    ] = None,
) -> None:
    """Write a small project that runs, with a test. Nothing that is there is changed."""
    directory = Path.cwd() if name is None else Path(name)
    project = directory.resolve().name
    if not _NAME.fullmatch(project):
        raise typer.BadParameter(
            f"{project!r} is no name of a project: letters, digits, '.', '-' and '_', a letter or digit first and last"
        )
    files = files_of_project(project)
    try:
        there = sorted(file for file in files if (directory / file).exists())
        if there:
            raise HoldfastError(f"{directory} has {', '.join(there)} already; nothing was written")
        directory.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (directory / file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise HoldfastError(f"the project cannot be written: {error}") from error
    typer.echo(f"{directory}: {', '.join(files)}")
    where = "" if name is None else f"cd {name} && "
    typer.echo(f"next: {where}pytest, and {where}holdfast dev")
