"""Log lines that say which run and which attempt they come from, as text for people or one JSON object each.

A worker gives every record of user code the attributes of `NO_FACTS`; any handler of the program may use them too.
"""

import json
import logging
import os
from datetime import UTC, datetime
from typing import Any

NO_FACTS: dict[str, Any] = {
    "run_id": "",
    "workflow_name": "",
    "step_name": "",
    "step_number": 0,
    "step_id": "",
    "attempt": 0,
    "trace_id": "",
    "span_id": "",
}
"""The attributes of a record that belongs to no run, so that a format may name them everywhere.

In a step that was called without a step_id, step_id is its number. trace_id and span_id: of the current span, in hex.
"""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_ours: logging.Handler | None = None


def configure_logging(
    level: int | str = "INFO",
    log_file: str | os.PathLike[str] | None = None,
    json_logs: bool = False,
    show_context: bool = True,
) -> None:
    """Logs to standard error, or to the end of `log_file`. Called again, it replaces what it has set up before.

    Handlers of the program itself are left alone. json_logs: one JSON object per line. show_context: lines of text end
    with the run and the step that they come from; JSON always has them. Raises ValueError for an unknown level.
    """
    global _ours
    root = logging.getLogger()
    root.setLevel(level.upper() if isinstance(level, str) else level)
    handler: logging.Handler
    if log_file is None:
        handler = logging.StreamHandler()
    else:
        # Errors as on standard error, so that no line is lost; in JSON that is the escape for the same character.
        handler = logging.FileHandler(log_file, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(JsonLines() if json_logs else Lines(show_context=show_context))
    if _ours is not None:
        root.removeHandler(_ours)
        _ours.close()
    _ours = handler
    root.addHandler(handler)


class Lines(logging.Formatter):
    """`12:00:00.123 INFO shop.flows: charged [order run_... charge (2) attempt 1]`, times in UTC."""

    def __init__(self, *, show_context: bool = True) -> None:
        super().__init__()
        self._show_context = show_context

    def formatMessage(self, record: logging.LogRecord) -> str:
        at = _instant(record).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
        line = f"{at} {record.levelname} {record.name}: {record.message}"
        where = _where(record) if self._show_context else ""
        return f"{line} [{where}]" if where else line


class JsonLines(logging.Formatter):
    """One JSON object per record: time, level, logger, message, what the record has of its run, and its `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": written_time(_instant(record)),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        given = {name: value for name, value in vars(record).items() if name not in _STANDARD and name not in line}
        line |= {name: given.pop(name, none) for name, none in NO_FACTS.items()}
        line = {name: value for name, value in line.items() if value or name not in NO_FACTS} | given
        if record.exc_info and record.exc_info[0] is not None:
            line["error_type"] = record.exc_info[0].__name__
            line["traceback"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        try:
            return json.dumps(line, default=str, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError):
            # Numbers and keys that JSON does not have, or a value that contains itself.
            return json.dumps({name: str(value) for name, value in line.items()}, ensure_ascii=False)


def written_time(at: datetime) -> str:
    """An instant in UTC as every line of JSON has it, whichever process writes it: `2026-03-01T12:00:00.500000Z`."""
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _instant(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _where(record: logging.LogRecord) -> str:
    facts = NO_FACTS | vars(record)
    if not facts["run_id"]:
        return ""
    step = f" {facts['step_name']} ({facts['step_id']})" if facts["step_name"] else ""
    attempt = f" attempt {facts['attempt']}" if facts["attempt"] else ""
    return f"{facts['workflow_name']} {facts['run_id']}{step}{attempt}"
