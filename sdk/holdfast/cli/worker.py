"""`holdfast worker`: runs the steps and workflows of some modules until it is stopped."""

import os
import sys
from collections.abc import Coroutine
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from holdfast.cli.deps_option import DepsOption, find_deps, opened_deps
from holdfast.cli.options import (
    GUARDS_HELP,
    AddressOption,
    CodecsOption,
    GuardsChoice,
    NamespaceOption,
    duration,
    note,
    with_client,
)
from holdfast.definitions.options import checked_name
from holdfast.errors import HoldfastError

if TYPE_CHECKING:
    from holdfast.authoring.discovery import Discovered
    from holdfast.client import Client
    from holdfast.worker import Worker

T = TypeVar("T")

MODULES_VARIABLE = "HOLDFAST_MODULES"
GRAPH_FILES = (".yaml", ".yml", ".json")
"""How the names of files end that hold graphs."""


class LogLevel(StrEnum):
    """The least important of what is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


ModulesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODULE...",
        help='Where the workflows are: "shop.flows", "shop.flows:app" or a graph, "flow.yaml"; else HOLDFAST_MODULES, '
        "pyproject.toml.",
        show_default=False,
    ),
]
QueueOption = Annotated[str, typer.Option("--queue", "-q", envvar="HOLDFAST_QUEUE", help="The queue to serve.")]
ConcurrencyOption = Annotated[int, typer.Option("--concurrency", "-c", min=1, help="How many steps run at once.")]
BuildOption = Annotated[
    str | None,
    typer.Option(
        "--build", envvar="HOLDFAST_BUILD", help="The build of the code; else made of its sources.", show_default=False
    ),
]
ProcessesOption = Annotated[
    int, typer.Option("--processes", "-p", min=1, help="How many worker processes, each with its own slots.")
]
HealthPortOption = Annotated[
    int | None,
    typer.Option("--health-port", min=0, max=65535, help="Answer gRPC health probes here.", show_default=False),
]
LoopBlockedOption = Annotated[
    str,
    typer.Option(
        "--loop-blocked-max",
        envvar="HOLDFAST_LOOP_BLOCKED_MAX",
        help="How long code may block the event loop before it is interrupted and its work goes to others.",
    ),
]
GuardsOption = Annotated[
    GuardsChoice, typer.Option("--guards", envvar="HOLDFAST_GUARDS", case_sensitive=False, help=GUARDS_HELP)
]
QuietOption = Annotated[bool, typer.Option("--quiet", help="Say nothing but errors.")]
LogJsonOption = Annotated[
    bool, typer.Option("--log-json", envvar="HOLDFAST_LOG_JSON", help="Log one JSON object per line.")
]
LogLevelOption = Annotated[
    LogLevel, typer.Option("--log-level", envvar="HOLDFAST_LOG_LEVEL", case_sensitive=False, help="What to log.")
]


def worker(
    modules: ModulesArgument = None,
    queue: QueueOption = "default",
    concurrency: ConcurrencyOption = 100,
    build: BuildOption = None,
    processes: ProcessesOption = 1,
    health_port: HealthPortOption = None,
    loop_blocked_max: LoopBlockedOption = "60s",
    guards: GuardsOption = GuardsChoice.ON,
    deps: DepsOption = None,
    codecs: CodecsOption = None,
    quiet: QuietOption = False,
    log_json: LogJsonOption = False,
    log_level: LogLevelOption = LogLevel.INFO,
    exit_with_stdin: Annotated[bool, typer.Option("--exit-with-stdin", hidden=True)] = False,
    address: AddressOption = None,
    namespace: NamespaceOption = "default",
) -> None:
    """Run the workflows and steps of some modules. SIGTERM drains; a second one hands everything back at once.

    Three seconds after the second the process is gone, whatever its code does.
    """
    from holdfast.cli.project_file import modules_of_project

    targets = modules or modules_of_environment() or modules_of_project(Path.cwd())
    found = load_modules(targets)
    made_by = find_deps(deps)
    try:
        checked_name("a worker", "queue", queue)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--queue") from None
    blocked_seconds = duration(loop_blocked_max, option="--loop-blocked-max")
    assert blocked_seconds is not None
    if blocked_seconds <= 1:
        raise typer.BadParameter("is more than one second", param_hint="--loop-blocked-max")
    if processes > 1:
        if health_port is not None:
            raise typer.BadParameter("answers for one process; leave --processes out", param_hint="--health-port")
        options = _options_of_one(
            targets, queue=queue, concurrency=concurrency, build=build, quiet=quiet, log_json=log_json,
            log_level=log_level, address=address, namespace=namespace, loop_blocked_max=loop_blocked_max,
            guards=guards, codecs=codecs, deps=deps,
        )  # fmt: skip
        from holdfast.cli.worker_processes import run_in_processes
        from holdfast.client.loops import run

        run(run_in_processes(options, processes))
        return
    is_logged = _log(LogLevel.ERROR if quiet else log_level, as_json=log_json)
    if not quiet and not log_json:
        note(
            f"holdfast worker: {len(found.workflows)} workflow(s) and {len(found.steps)} step(s), "
            f"queue {queue}, {concurrency} at once"
        )

    async def work(client: "Client") -> None:
        from holdfast.worker import Worker

        async with opened_deps(deps, made_by) as given:
            made = Worker(
                client, queue, workflows=found.workflows, steps=found.steps, max_steps=concurrency, build=build,
                health_port=health_port, loop_blocked_max=blocked_seconds, guards=guards.value, **given,
            )  # fmt: skip
            await _run(made, exit_with_stdin=exit_with_stdin, quiet=quiet or is_logged or log_json)

    # The worker itself waits for the coordinator, for as long as it takes.
    try:
        with_client(address, namespace, work, checked=False, codecs=codecs, drive=_drive)
    except HoldfastError as error:
        if not log_json:
            raise
        import logging

        logging.getLogger("holdfast.worker").error("%s", error)
        raise typer.Exit(1) from None


def _drive(main: Coroutine[Any, Any, T]) -> T:
    from holdfast.worker.process_loop import drive

    return drive(main)


async def _run(worker: "Worker", *, exit_with_stdin: bool, quiet: bool) -> None:
    """Runs a worker until it is stopped. quiet: it does not print that it is ready."""
    import asyncio

    if exit_with_stdin:
        from holdfast.cli.stdin import end_with_stdin

        end_with_stdin(worker)
    settling = asyncio.create_task(_settle(worker, quiet=quiet))
    try:
        await worker.run()
    finally:
        settling.cancel()
    # It holds nothing any more. A step that goes on, or its thread, must not keep the process.
    from holdfast.worker.stop_signals import LEAVE_SECONDS, end_process_in

    end_process_in(LEAVE_SECONDS, 0)


def _options_of_one(
    targets: list[str],
    *,
    queue: str,
    concurrency: int,
    build: str | None,
    quiet: bool,
    log_json: bool,
    log_level: LogLevel,
    address: str | None,
    namespace: str,
    loop_blocked_max: str,
    guards: GuardsChoice,
    codecs: str | None,
    deps: str | None,
) -> list[str]:
    """The command line of one of several processes."""
    options = [*targets, "--queue", queue, "--concurrency", str(concurrency), "--namespace", namespace]
    options += ["--loop-blocked-max", loop_blocked_max, "--guards", guards]
    options += ["--build", build] if build else []
    options += ["--codecs", codecs] if codecs else []
    options += ["--deps", deps] if deps else []
    options += ["--address", address] if address else []
    options += ["--log-level", log_level, *(["--log-json"] if log_json else [])]
    return [*options, "--quiet"] if quiet else options


def _log(level: LogLevel, *, as_json: bool) -> bool:
    """Sets up logging, unless the modules have done so and JSON is not asked for; True when ready workers say so."""
    import logging

    from holdfast.logs import configure_logging

    if logging.getLogger().handlers and not as_json:
        return False
    configure_logging(level, json_logs=as_json)
    return level in (LogLevel.DEBUG, LogLevel.INFO)


async def _settle(worker: "Worker", *, quiet: bool) -> None:
    """Once the worker is ready, makes the process one that does nothing else."""
    from holdfast.garbage import settle_garbage_collector
    from holdfast.worker.worker import WorkerEnded

    try:
        await worker.ready()
    except WorkerEnded:
        # The worker itself says why.
        return
    settle_garbage_collector()
    if not quiet:
        note(f"holdfast worker: ready, build {worker.build}")


def modules_of_environment() -> list[str]:
    """The modules that HOLDFAST_MODULES names, separated by commas or white space."""
    return os.environ.get(MODULES_VARIABLE, "").replace(",", " ").split()


def load_modules(modules: list[str]) -> "Discovered":
    """What the modules define; they are found from the current directory too.

    A usage error when there are no modules; HoldfastError when one cannot be imported or they define nothing.
    """
    from holdfast.authoring.discovery import Discovered, discover
    from holdfast.cli.project_file import FILE, TABLE

    if not modules:
        raise typer.BadParameter(
            f"name the modules of your workflows, set {MODULES_VARIABLE}, or list them in {FILE} under [{TABLE}]",
            param_hint="MODULE",
        )
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    files = [one for one in modules if one.endswith(GRAPH_FILES)]
    found = discover([one for one in modules if one not in files])
    if files:
        from holdfast.graphs.files import load_graph

        graphs = [load_graph(Path(one)).registered for one in files]
        found = Discovered(found.steps, (*found.workflows, *graphs))
    if not found.workflows and not found.steps:
        raise HoldfastError(
            f"{', '.join(modules)}: no workflow and no step is defined there; decorate functions with "
            "@holdfast.workflow and @holdfast.step"
        )
    return found
