"""`python -m benchmarks`, which is what `make bench` and, in a checkout, `holdfast bench` run."""

import sys

import typer

from holdfast.cli.root import RootGroup
from holdfast.errors import HoldfastError

from .command import bench

if __name__ == "__main__":
    app = typer.Typer(cls=RootGroup, pretty_exceptions_enable=False)
    app.command()(bench)
    try:
        app()
    except HoldfastError as error:  # a single command is no group, which would say it
        sys.exit(f"holdfast: {error}")
