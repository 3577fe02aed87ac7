"""The root command: collects what the packages bring and turns errors into one sentence and an exit code.

Exit codes: 0 success, 1 an error or a run that did not complete, 2 wrong usage, 124 the time that was given has passed.
"""

import importlib
from typing import Annotated, Any

import typer

from holdfast.cli import check, graphs, health_check, hooks, init, replay, runs, start, traces, worker
from holdfast.cli.command_group import CommandGroup
from holdfast.errors import HoldfastError

SERVER_MODULE = "holdfast_coordinator.cli"
"""It is in the same distribution, but the SDK does not know it. What it needs is there with an extra only."""

UsageError: Any = typer.BadParameter.__base__
"""Any wrong usage. It is a class of click, which some versions of Typer hold inside of themselves."""
SERVER_COMMANDS = ("dev", "serve", "migrate", "demo", "bench")


def _say_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        typer.echo(f"holdfast {version('holdfast')}")
        raise typer.Exit


class RootGroup(CommandGroup):
    """Says an error of holdfast, or wrong usage, in one sentence on stderr, without a traceback."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        try:
            return super().make_context(info_name, args, parent, **extra)
        except UsageError as error:
            raise _said(error) from None

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except UsageError as error:
            raise _said(error) from None
        except HoldfastError as error:
            typer.echo(f"holdfast: {error}", err=True)
            raise typer.Exit(getattr(error, "exit_code", 1)) from None


def _said(error: Any) -> Any:
    """Says what is wrong with a command line, and where its usage is; what ends the program then."""
    if type(error).__name__ == "NoArgsIsHelpError":
        return error  # the help is its message
    typer.echo(f"holdfast: {' '.join(error.format_message().split())}", err=True)
    if error.ctx is not None:
        typer.echo(f"`{error.ctx.command_path} --help` shows how it is used", err=True)
    return typer.Exit(error.exit_code)


def make_app() -> typer.Typer:
    """The whole command line, with the commands of the server."""
    app = typer.Typer(
        cls=RootGroup,
        name="holdfast",
        help="Durable execution for Python.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        # Plain help: what draws boxes takes longer to import than all that the help needs.
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    app.command("init")(init.init)
    app.command("worker")(worker.worker)
    app.command("start")(start.start)
    app.command("run")(start.run)
    app.add_typer(runs.app, name="runs")
    app.add_typer(hooks.app, name="hooks")
    app.add_typer(traces.app, name="trace")
    app.command("check")(check.check)
    app.command("replay")(replay.replay)
    app.command("graph")(graphs.graph)
    app.command("health")(health_check.health)
    add_commands(app, SERVER_MODULE)
    return app


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Durable execution for Python."""


def add_commands(app: typer.Typer, module: str) -> None:
    """Lets a module register its commands; when it cannot be imported, commands that say what is missing."""
    try:
        importlib.import_module(module).register(app)
    except ImportError as error:
        for name in SERVER_COMMANDS:
            _add_missing(app, name, reason=str(error))


def _add_missing(app: typer.Typer, name: str, *, reason: str) -> None:
    settings = {"allow_extra_args": True, "ignore_unknown_options": True}

    @app.command(name, help="Needs holdfast[server].", context_settings=settings)
    def missing() -> None:
        raise HoldfastError(
            f"`holdfast {name}` needs the server, which is not installed ({reason}); "
            "install it with: pip install 'holdfast[server]'"
        )
