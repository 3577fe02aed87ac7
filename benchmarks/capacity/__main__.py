"""`python -m benchmarks.capacity --steps-per-second 20000`: what a load needs."""

import typer

from holdfast.cli.root import RootGroup

from .command import main

if __name__ == "__main__":
    app = typer.Typer(cls=RootGroup, pretty_exceptions_enable=False)
    app.command()(main)
    app()
