"""The commands that need the server extra: dev, serve, migrate, demo. The program asks this module to add them.

What declares them is imported with this; what a command does, when it is called.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from holdfast.cli.deps_option import DepsOption, checked_target
from holdfast.cli.options import GUARDS_HELP, GuardsChoice
from holdfast.errors import HoldfastError
from holdfast.limits import DEFAULT_PORT

from .demo.command import demo

CHECKOUT = Path(__file__).resolve().parents[2]
"""Where the source is, if this is the source and not what was installed from it."""

SERVER_PACKAGES = ("alembic", "psycopg", "pydantic_settings", "sqlalchemy", "structlog", "uvloop")

DatabaseOption = Annotated[
    str | None,
    typer.Option("--database-url", help="Postgres to use (HOLDFAST_DATABASE_URL)."),
]
EmbeddedOption = Annotated[
    bool | None, typer.Option("--embedded", help="Bring a Postgres of its own, on this machine, instead.")
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
AdvertiseOption = Annotated[
    str | None,
    typer.Option(
        "--advertise",
        metavar="HOST:PORT",
        help="Where workers reach this very replica; --host, where it is an address.",
    ),
]
NamespacesOption = Annotated[
    list[str] | None, typer.Option("--namespace", help="A namespace to create; may be given many times.")
]
LogLevelOption = Annotated[str | None, typer.Option("--log-level", help="debug, info, warning or error.")]
LogJsonOption = Annotated[bool | None, typer.Option("--log-json", help="One JSON object per log line.")]
MetricsPortOption = Annotated[
    int | None,
    typer.Option(
        "--metrics-port", help="Serve metrics to Prometheus on this port; 0 takes a free one, off by default."
    ),
]
OtlpOption = Annotated[
    str | None,
    typer.Option(
        "--otlp", metavar="URL", help="Export spans and metrics there by OTLP/gRPC, http://localhost:4317 for example."
    ),
]
TraceRatioOption = Annotated[
    float | None,
    typer.Option("--trace-ratio", min=0, max=1, help="Share of runs whose spans are exported; 1 by default."),
]
DrainOption = Annotated[
    str | None,
    typer.Option(
        "--drain", help="How long to serve on after SIGTERM, while others find other replicas; 0s by default."
    ),
]
TtlOption = Annotated[
    str | None, typer.Option("--session-ttl", help="How long a worker may be silent before it is dead; 10s by default.")
]


def register(app: typer.Typer) -> None:
    """Adds the commands to the `holdfast` program. Raises ImportError when the server extra is not installed."""
    missing = [name for name in SERVER_PACKAGES if find_spec(name) is None]
    if missing:
        raise ImportError(f"no module named {missing[0]!r}")
    app.command()(serve)
    app.command()(dev)
    app.command()(migrate)
    app.command()(demo)
    # Every option is one of the benchmarks' own, --help too.
    options = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    app.command(context_settings=options, hidden=not _has_benchmarks())(bench)


def serve(
    database_url: DatabaseOption = None,
    embedded: EmbeddedOption = None,
    data_directory: DataOption = None,
    ephemeral: EphemeralOption = None,
    host: HostOption = None,
    port: PortOption = None,
    advertise: AdvertiseOption = None,
    namespace: NamespacesOption = None,
    session_ttl: TtlOption = None,
    drain: DrainOption = None,
    log_level: LogLevelOption = None,
    log_json: LogJsonOption = None,
    metrics_port: MetricsPortOption = None,
    otlp: OtlpOption = None,
    trace_ratio: TraceRatioOption = None,
) -> None:
    """Run a coordinator until SIGTERM, on the Postgres of --database-url or, with --embedded, on one of its own."""
    from . import server_commands

    config = server_commands.configured(
        database_url=database_url, embedded=embedded, data_directory=data_directory, ephemeral=ephemeral, host=host,
        port=port, advertise=advertise, namespaces=_with_default(namespace), session_ttl=session_ttl,
        drain=drain, log_level=log_level, log_json=log_json, metrics_port=metrics_port, otlp=otlp,
        trace_ratio=trace_ratio,
    )  # fmt: skip
    server_commands.serve(server_commands.with_one_database(config, database_url=database_url, embedded=embedded))


def dev(
    modules: Annotated[
        list[str] | None, typer.Argument(help="Modules with workflows; a worker is started for them.")
    ] = None,
    data_directory: DataOption = None,
    ephemeral: EphemeralOption = None,
    port: PortOption = None,
    processes: Annotated[int, typer.Option("--processes", min=1, help="How many worker processes.")] = 1,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="Attempts at once per worker.")] = 100,
    reload: Annotated[
        bool, typer.Option("--reload", help="Start the workers anew when a Python file below this directory changes.")
    ] = False,
    guards: Annotated[
        GuardsChoice | None,
        typer.Option("--guards", case_sensitive=False, help=f"Of the workers: {GUARDS_HELP}", show_default="on"),
    ] = None,
    deps: DepsOption = None,
    log_level: LogLevelOption = None,
    log_json: LogJsonOption = None,
    metrics_port: MetricsPortOption = None,
    otlp: OtlpOption = None,
    trace_ratio: TraceRatioOption = None,
) -> None:
    """Run everything on this machine: Postgres, coordinator and workers for the modules.

    Without modules those of HOLDFAST_MODULES or of pyproject.toml, as of `holdfast worker`.
    """
    from holdfast.cli.project_file import modules_of_project
    from holdfast.cli.worker import modules_of_environment

    from . import server_commands

    config = server_commands.configured(
        data_directory=data_directory,
        ephemeral=ephemeral,
        port=port,
        metrics_port=metrics_port,
        otlp=otlp,
        trace_ratio=trace_ratio,
        log_level=log_level or os.environ.get("HOLDFAST_LOG_LEVEL") or "warning",
        log_json=log_json,
    )
    if deps is not None:
        checked_target(deps)
    options = [*(["--guards", guards] if guards else []), *(["--deps", deps] if deps else [])]
    server_commands.serve_with_workers(
        config,
        modules or modules_of_environment() or modules_of_project(Path.cwd()),
        processes=processes,
        concurrency=concurrency,
        worker_options=options,
        reload=reload,
    )


def migrate(database_url: DatabaseOption = None) -> None:
    """Bring the schema of a database up to date. Safe while coordinators run, and twice at once."""
    from . import server_commands

    server_commands.migrate_database(server_commands.configured(database_url=database_url))


def bench(context: typer.Context) -> None:
    """Measure holdfast on this machine, beside what the machine can do at all."""
    if not _has_benchmarks():
        raise HoldfastError("the benchmarks are not installed: get the source of holdfast and run `make bench` there")
    paths = filter(None, (str(CHECKOUT), os.environ.get("PYTHONPATH")))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    # -P: a folder `benchmarks` in the working directory is another one.
    os.execve(sys.executable, [sys.executable, "-P", "-m", "benchmarks", *context.args], environment)


def _has_benchmarks() -> bool:
    return (CHECKOUT / "benchmarks" / "__main__.py").is_file()


def _with_default(namespaces: list[str] | None) -> tuple[str, ...] | None:
    return ("default", *(name for name in namespaces if name != "default")) if namespaces else None
