"""The commands that need the server extra: dev, serve, migrate, demo. The program finds them by entry point."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from holdfast.errors import HoldfastError

from .app import CELLS, Coordinator, coordinator
from .config import DEFAULT_PORT, Config
from .demo.command import demo
from .logs import configure_logs
from .store.migrate import migrate as migrate_database
from .store.port import StoreError
from .worker_processes import WorkerProcesses

err = Console(stderr=True)

DatabaseOption = Annotated[
    str | None,
    typer.Option("--database-url", help="Postgres to use instead of the embedded one (HOLDFAST_DATABASE_URL)."),
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data-directory", help="Where the embedded Postgres keeps its data; .holdfast/postgres by default."),
]
EphemeralOption = Annotated[
    bool | None, typer.Option("--ephemeral", help="Keep the data of the embedded Postgres only while this runs.")
]
HostOption = Annotated[str | None, typer.Option("--host", help="Address to listen on; 127.0.0.1 by default.")]
PortOption = Annotated[
    int | None, typer.Option("--port", help=f"Port to listen on; {DEFAULT_PORT} by default, 0 takes a free one.")
]
NamespacesOption = Annotated[
    list[str] | None, typer.Option("--namespace", help="A namespace to create; may be given many times.")
]
LogLevelOption = Annotated[str | None, typer.Option("--log-level", help="debug, info, warning or error.")]
LogJsonOption = Annotated[bool | None, typer.Option("--log-json", help="One JSON object per log line.")]
TtlOption = Annotated[
    str | None, typer.Option("--session-ttl", help="A worker that is silent for so long is dead; 10s by default.")
]


def register(app: typer.Typer) -> None:
    """Adds the commands to the `holdfast` program."""
    app.command()(serve)
    app.command()(dev)
    app.command()(migrate)
    app.command()(demo)


def serve(
    database_url: DatabaseOption = None,
    data_directory: DataOption = None,
    ephemeral: EphemeralOption = None,
    host: HostOption = None,
    port: PortOption = None,
    namespace: NamespacesOption = None,
    session_ttl: TtlOption = None,
    log_level: LogLevelOption = None,
    log_json: LogJsonOption = None,
) -> None:
    """Run a coordinator until SIGTERM. Without a database URL it brings its own Postgres."""
    config = _config(
        database_url=database_url, data_directory=data_directory, ephemeral=ephemeral, host=host, port=port,
        namespaces=_with_default(namespace), session_ttl=session_ttl, log_level=log_level, log_json=log_json,
    )  # fmt: skip
    _run(_serve(config, _announce))


def dev(
    modules: Annotated[
        list[str] | None, typer.Argument(help="Modules with workflows; a worker is started for them.")
    ] = None,
    data_directory: DataOption = None,
    ephemeral: EphemeralOption = None,
    port: PortOption = None,
    processes: Annotated[int, typer.Option("--processes", min=1, help="How many worker processes.")] = 1,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="Attempts at once per worker.")] = 100,
    log_level: LogLevelOption = None,
) -> None:
    """Run everything on this machine: Postgres, coordinator and, for the given modules, workers."""
    config = _config(
        data_directory=data_directory,
        ephemeral=ephemeral,
        port=port,
        log_level=log_level or os.environ.get("HOLDFAST_LOG_LEVEL", "warning"),
    )

    async def with_workers(running: Coordinator) -> None:
        await _announce(running)
        if modules:
            workers = WorkerProcesses(modules, address=running.address, concurrency=concurrency)
            async with workers.started(processes):
                err.print(f"[bold]{processes}[/] worker process(es) for {', '.join(modules)}")
                await workers.supervise()

    _run(_serve(config, with_workers))


def migrate(database_url: DatabaseOption = None) -> None:
    """Bring the schema of a database up to date. Safe while coordinators run, and twice at once."""
    config = _config(database_url=database_url)
    if config.database_url is None:
        raise typer.BadParameter("give --database-url or set HOLDFAST_DATABASE_URL; `holdfast dev` migrates by itself")
    _run(migrate_database(config.database_url, cells=CELLS))
    err.print("The schema is up to date.")


async def _announce(running: Coordinator) -> None:
    err.print(f"holdfast listens on [bold]{running.address}[/]; {running.database.description}")


async def _serve(config: Config, then: Callable[[Coordinator], Awaitable[None]]) -> None:
    """Serves until SIGTERM or SIGINT, or until the replica cannot go on."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with coordinator(config) as running:
        stopping = asyncio.ensure_future(stop.wait())
        beside = asyncio.ensure_future(then(running))
        watched: set[asyncio.Future[Any]] = {stopping, running.failed, beside}
        while not stopping.done():
            done, watched = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()  # a failure of the replica or of what runs beside it ends the program
        beside.cancel()
        await asyncio.gather(beside, return_exceptions=True)


def _config(**options: Any) -> Config:
    """Options that were given, over variables, over defaults."""
    given = {name: value for name, value in options.items() if value is not None}
    try:
        config = Config(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        # A database URL may hold a password.
        given_value = "" if name == "database_url" else f", not {first['input']!r}"
        raise typer.BadParameter(f"{name}: {first['msg']}{given_value}") from None
    configure_logs(level=config.log_level, json=config.log_json)
    return config


def _with_default(namespaces: list[str] | None) -> tuple[str, ...] | None:
    return ("default", *(name for name in namespaces if name != "default")) if namespaces else None


def _run(main: Awaitable[None]) -> None:
    try:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_awaited(main))
    except (HoldfastError, StoreError) as error:
        # The text of an error may hold brackets, which are no markup.
        err.print(f"[red]error:[/] {escape(str(error))}", highlight=False)
        sys.exit(1)


async def _awaited(main: Awaitable[None]) -> None:
    await main
