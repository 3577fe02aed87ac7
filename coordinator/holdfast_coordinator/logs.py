"""Sets up the coordinator's structured logs: one event per fact, past tense, to stderr.

As JSON they have the same form as those of workers (`holdfast.logs`): time, level, logger and message first, then the
facts; `error_type` and `traceback` where there was an exception.
"""

import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict

from holdfast.logs import written_time

FIRST = ("time", "level", "logger", "message")


class _Logger(structlog.PrintLogger):
    """A logger that adds the name of its module."""

    def __init__(self, file: TextIO, name: str) -> None:
        super().__init__(file)
        self.name = name


def configure_logs(*, level: str, json: bool) -> None:
    """Once per process, before anything logs. level: debug, info, warning or error."""
    rendering: list[structlog.typing.Processor] = (
        [_as_a_worker_says_it, structlog.processors.JSONRenderer(default=str, ensure_ascii=False)]
        if json
        else [
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ]
    )
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *names: _Logger(sys.stderr, names[0] if names else "holdfast_coordinator"),
        cache_logger_on_first_use=True,
    )


@contextmanager
def only_errors_of_ours() -> Iterator[None]:
    """Inside of somebody else's program: prints errors of the coordinator, and changes nothing else of structlog.

    Nothing at all where the program has set up structlog: then these events are among its own.
    """
    if structlog.is_configured():
        yield
        return
    structlog.configure(logger_factory=_others_as_ever)
    try:
        yield
    finally:
        if structlog.get_config()["logger_factory"] is _others_as_ever:  # else the program has set it up meanwhile
            structlog.reset_defaults()


class _Errors(_Logger):
    """Prints what is an error, and nothing below it."""

    def msg(self, message: str) -> None:
        pass

    debug = info = warning = warn = log = msg


def _others_as_ever(*names: str) -> Any:
    is_ours = bool(names) and names[0].startswith("holdfast_coordinator")
    return _Errors(sys.stderr, names[0]) if is_ours else structlog.PrintLogger()


def announcements(name: str) -> Any:
    """A logger for what the program says whatever the level is, as it prints it where logs are text."""
    return structlog.wrap_logger(
        None, wrapper_class=structlog.make_filtering_bound_logger(logging.INFO), logger_factory_args=(name,)
    )


def _as_a_worker_says_it(logger: Any, _: str, event: EventDict) -> EventDict:
    """The event in the form of `holdfast.logs.JsonLines`."""
    stamped = {**event, "time": written_time(datetime.now(UTC))}
    stamped["message"] = stamped.pop("event")
    stamped["level"] = str(stamped["level"]).upper()
    stamped["logger"] = logger.name
    error = stamped.pop("exc_info", None)
    error = sys.exc_info()[1] if error is True else error[1] if isinstance(error, tuple) else error
    if isinstance(error, BaseException):
        stamped["error_type"] = type(error).__name__
        stamped["traceback"] = "".join(traceback.format_exception(error)).rstrip()
    return {name: stamped[name] for name in FIRST} | {k: v for k, v in stamped.items() if k not in FIRST}
