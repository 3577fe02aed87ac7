"""`python -m benchmarks`, which is what `make bench` and, in a checkout, `holdfast bench` run."""

import typer

from holdfast.cli.root import RootGroup

from .command import bench

if __name__ == "__main__":
    app = typer.Typer(cls=RootGroup, pretty_exceptions_enable=False)
    app.command()(bench)
    app()
