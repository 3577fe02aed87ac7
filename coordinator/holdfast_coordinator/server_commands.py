"""What `serve`, `dev` and `migrate` do once their options are read: configure, serve until stopped, print errors."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Container, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import typer
import uvloop
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from rich.console import Console
from rich.markup import escape

from holdfast.durations import parse_duration
from holdfast.errors import HoldfastError

from .app import CELLS, Coordinator, coordinator
from .config import Config
from .logs import announcements, configure_logs
from .store.migrate import migrate
from .store.port import StoreError
from .worker_processes import WorkerProcesses, changed_files

err = Console(stderr=True)
log = announcements(__name__)


def serve(config: Config) -> None:
    """Serves until SIGTERM or SIGINT."""
    _run(_serve(config, _announcer(config)), json=config.log_json)


def serve_with_workers(
    config: Config, modules: Sequence[str], *, processes: int, concurrency: int, worker_options: Sequence[str] = (),
    reload: bool = False,
) -> None:  # fmt: skip
    """Serves, with worker processes for the modules beside it. worker_options: for their command lines.

    reload: they are started anew when a Python file of this directory changes.
    """

    async def with_workers(running: Coordinator) -> None:
        await _announcer(config)(running)
        if modules:
            options = [*worker_options, *(["--log-json"] if config.log_json else [])]
            workers = WorkerProcesses(modules, address=running.address, concurrency=concurrency, options=options)
            async with workers.started(processes):
                if config.log_json:
                    log.info("workers_started", processes=processes, modules=list(modules))
                else:
                    err.print(f"[bold]{processes}[/] worker process(es) for {', '.join(modules)}")
                if reload:
                    await workers.reload_on(
                        changed_files(Path.cwd()), lambda line: err.print(escape(line), soft_wrap=True)
                    )
                else:
                    await workers.supervise()

    _run(_serve(config, with_workers), json=config.log_json)


def migrate_database(config: Config) -> None:
    """Migrates the database of the configuration."""
    if config.database_url is None:
        raise typer.BadParameter("give --database-url or set HOLDFAST_DATABASE_URL; `holdfast dev` migrates by itself")
    _run(migrate(config.database_url, cells=CELLS), json=config.log_json)
    if config.log_json:
        log.info("migration_ended")
    else:
        err.print("The schema is up to date.")


def with_one_database(config: Config, *, database_url: str | None, embedded: bool | None) -> Config:
    """The configuration with the one database that was chosen; an option wins over a variable.

    A usage error when none or both were: a variable that was forgotten must not end in an empty database.
    """
    if database_url is not None and embedded:
        raise typer.BadParameter("--database-url and --embedded name two databases; give one of them")
    if database_url is not None:
        return config.model_copy(update={"embedded": False})
    if embedded:
        return config.model_copy(update={"database_url": None})
    if config.database_url is not None and config.embedded:
        raise typer.BadParameter("HOLDFAST_DATABASE_URL and HOLDFAST_EMBEDDED name two databases; unset one of them")
    if config.database_url is None and not config.embedded:
        raise typer.BadParameter(
            "no database is named; give --database-url or set HOLDFAST_DATABASE_URL, or give --embedded for a Postgres "
            "on this machine, with its data in .holdfast/postgres"
        )
    return config


def configured(**options: Any) -> Config:
    """Options that were given, over variables, over defaults."""
    given = {name: value for name, value in options.items() if value is not None}
    try:
        config = Config(**given)
    except ValidationError as error:
        raise typer.BadParameter(_sentence(error.errors(include_url=False)[0], given)) from None
    configure_logs(level=config.log_level, json=config.log_json)
    return config


def _sentence(error: ErrorDetails, given: Container[str]) -> str:
    """What is wrong, after the option or the variable that says it."""
    field, *inside = map(str, error["loc"])
    name = f"--{field.replace('_', '-')}" if field in given else f"HOLDFAST_{field.upper()}"
    where = ", ".join(("--namespace" if name == "--namespaces" else name, *inside))
    what = error["msg"].removeprefix("Value error, ")
    # A database URL may hold a password.
    is_said = field == "database_url" or repr(error["input"]) in what
    return f"{where}: {what}" if is_said else f"{where}: {what}, not {error['input']!r}"


def _announcer(config: Config) -> Callable[[Coordinator], Awaitable[None]]:
    """What says where a replica listens: to people, or as an event among the others of a JSON log."""

    async def announce(running: Coordinator) -> None:
        if config.log_json:
            database, metrics = running.database.description, running.metrics_address
            log.info("serving_begun", address=running.address, database=database, metrics_address=metrics)
            return
        err.print(f"holdfast listens on [bold]{running.address}[/]; {escape(running.database.description)}")
        if running.metrics_address is not None:
            err.print(f"metrics are served on http://{running.metrics_address}/metrics", highlight=False)

    return announce


async def _serve(config: Config, then: Callable[[Coordinator], Awaitable[None]]) -> None:
    """Serves until SIGTERM or SIGINT, then drains; or until the replica cannot go on."""
    with _StopSignals() as signals:
        async with AsyncExitStack() as stack:
            try:
                with signals.cancelling(asyncio.current_task()):
                    running = await stack.enter_async_context(coordinator(config))
            except asyncio.CancelledError:
                if not signals.first.is_set():
                    raise
                # Not by returning: a thread may wait for the lock of a migration, and the loop for that thread. What
                # it does is a transaction, which ends with this process.
                os._exit(0)
            stopping = asyncio.ensure_future(signals.first.wait())
            beside = asyncio.ensure_future(then(running))
            watched: set[asyncio.Future[Any]] = {stopping, running.failed, beside}
            while not stopping.done():
                done, watched = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
                for one in done:
                    one.result()  # a failure of the replica or of what runs beside it ends the program
            await _drain(running, signals.second, parse_duration(config.drain).total_seconds(), json=config.log_json)
            beside.cancel()
            await asyncio.gather(beside, return_exceptions=True)


async def _drain(running: Coordinator, at_once: asyncio.Event, seconds: float, *, json: bool) -> None:
    """Says that this replica leaves, and serves on until those who look for replicas have seen it."""
    if not seconds:
        return
    if json:
        log.info("draining_begun", seconds=seconds)
    else:
        err.print(f"draining for {seconds:g} s; a second signal stops at once", highlight=False)
    await running.withdraw()
    skipping = asyncio.ensure_future(at_once.wait())
    try:
        await asyncio.wait((skipping, running.failed), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        skipping.cancel()


class _StopSignals:
    """SIGTERM and SIGINT, counted; while it starts, the first one cancels whatever is waited for."""

    def __init__(self) -> None:
        self.first, self.second = asyncio.Event(), asyncio.Event()
        self._cancels: asyncio.Task[Any] | None = None

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._came)
        return self

    def __exit__(self, *exc: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)

    @contextlib.contextmanager
    def cancelling(self, task: asyncio.Task[Any] | None) -> Iterator[None]:
        """The first signal cancels this task, for as long as the block runs."""
        self._cancels = task
        try:
            yield
        finally:
            self._cancels = None

    def _came(self) -> None:
        if self.first.is_set():
            self.second.set()
        self.first.set()
        if self._cancels is not None:
            self._cancels.cancel()


def _run(main: Awaitable[None], *, json: bool) -> None:
    """Runs to the end. Raises HoldfastError, which the program says in one sentence; json: it is one more event."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_awaited(main))
    except (HoldfastError, StoreError) as error:
        if json:
            log.error("serving_failed", why=str(error))
            raise typer.Exit(1) from None
        raise HoldfastError(str(error)) from error


async def _awaited(main: Awaitable[None]) -> None:
    await main
