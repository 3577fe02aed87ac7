"""Histories as JSON: what `runs history --output json` writes and `holdfast replay` reads. Pure but for reading files.

Values of users are plain JSON, so that a history can be kept beside the code and its changes be looked at. A value that
is encoded in another way is kept as it is stored, in the object {"$encoding": ..., "$data": base64}.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from holdfast import journal
from holdfast.backoff import Backoff
from holdfast.codec import Codec
from holdfast.durations import format_duration, parse_duration
from holdfast.errors import CodecMissing, HoldfastError, PayloadNotSerializable
from holdfast.journal import Arguments, Entry, Payload
from holdfast.replay.stored import StoredRun
from holdfast.workflow.current_run import RunInfo

ENCODING, DATA = "$encoding", "$data"
_TAGGED = (*get_args(journal.MailBody), *get_args(Backoff))
"""Kinds of which one field may hold several: their objects have their `type`."""
_ENTRIES = {kind.__name__: kind for kind in get_args(journal.Entry)}
_RUN_FIELDS = ("run_id", "id", "queue", "namespace", "parent_run_id", "created_at", "metadata")
_codec = Codec()


class HistoryUnreadable(HoldfastError):
    """A file does not hold a history that can be replayed."""

    def __init__(self, path: Path | str, *, reason: str) -> None:
        super().__init__(
            f"{path} holds no history: {reason}; `holdfast runs history RUN --output json > run.json` writes one"
        )


def history_values(stored: StoredRun, epochs: Mapping[int, int]) -> list[dict[str, Any]]:
    """A history as JSON values: of each entry number, type and at first, then what its kind has.

    The first one has what the run was started with, as `run`. epochs: of the entries, by number.
    """
    found = [entry_values(number, epochs.get(number, 0), entry) for number, entry in enumerate(stored.entries, start=1)]
    if found:
        run = {name: plain(getattr(stored.info, name)) for name in _RUN_FIELDS}
        found[0]["run"] = {**run, **plain(stored.arguments)}
    return found


def entry_values(number: int, epoch: int, entry: Entry) -> dict[str, Any]:
    """An entry of a history as JSON values."""
    body: dict[str, Any] = plain(entry)
    at = body.pop("at")
    return {"seq": number, "type": type(entry).__name__, "at": at, "epoch": epoch, **body}


def plain(value: Any) -> Any:
    """A record as `history_values` has it: instants as ISO texts, spans as "90s", enums as their lower-case names."""
    match value:
        case Payload():
            return _plain_payload(value)
        case Arguments():
            return {"args": plain(value.positional), "kwargs": plain(value.named)}
        case datetime():
            return value.isoformat()
        case timedelta():
            return format_duration(value)
        case StrEnum():
            return value.value
        case Enum():
            return value.name.lower()
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        body = {one.name: plain(getattr(value, one.name)) for one in fields(value)}
        return {"type": type(value).__name__, **body} if isinstance(value, _TAGGED) else body
    return value


def _plain_payload(payload: Payload) -> Any:
    if payload.encoding in ("", "json"):
        try:
            return _codec.decode(payload, Any, what="a value")
        except (CodecMissing, PayloadNotSerializable):
            pass  # it is kept as it is, as what has another encoding
    return {ENCODING: str(payload.encoding), DATA: base64.b64encode(payload.data).decode()}


def read_histories(path: Path) -> list[StoredRun]:
    """The history in a file. Raises HistoryUnreadable, which names the entry that is not understood."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise HistoryUnreadable(path, reason=f"it cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise HistoryUnreadable(path, reason=f"it is not JSON ({error})") from None
    if not isinstance(values, list) or not all(isinstance(one, dict) for one in values):
        raise HistoryUnreadable(path, reason="it is not a list of entries")
    return [_stored_run(path, values)]


def _stored_run(path: Path, values: list[dict[str, Any]]) -> StoredRun:
    entries = [_entry(path, number, value) for number, value in enumerate(values, start=1)]
    started = entries[0] if entries else None
    if not isinstance(started, journal.RunStarted):
        raise HistoryUnreadable(path, reason="it does not begin with RunStarted")
    run = values[0].get("run")
    if not isinstance(run, dict):
        raise HistoryUnreadable(path, reason="its first entry does not say what the run was started with, as `run`")
    try:
        arguments = read(Arguments, run)
        created_at = read(datetime | None, run.get("created_at"))
        info = RunInfo(
            run_id=str(run.get("run_id", "")),
            workflow=started.workflow,
            id=str(run.get("id") or ""),
            queue=str(run.get("queue") or "default"),
            namespace=str(run.get("namespace") or "default"),
            parent_run_id=str(run.get("parent_run_id") or ""),
            created_at=created_at,
            metadata=dict(run.get("metadata") or {}),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise HistoryUnreadable(path, reason=f"`run` of its first entry is not understood ({error})") from None
    return StoredRun(info, arguments, tuple(entries), source=str(path))


def _entry(path: Path, number: int, value: dict[str, Any]) -> Entry:
    kind = _ENTRIES.get(str(value.get("type")))
    if value.get("seq") != number:
        raise HistoryUnreadable(path, reason=f"entry {number} is missing or out of order (seq {value.get('seq')})")
    if kind is None:
        raise HistoryUnreadable(path, reason=f"entry {number} has the type {value.get('type')!r}, which is not known")
    try:
        entry: Entry = read(kind, value)
    except (ValueError, TypeError, KeyError) as error:
        raise HistoryUnreadable(path, reason=f"entry {number}, {kind.__name__}, is not understood ({error})") from None
    return entry


def read(hint: Any, value: Any) -> Any:
    """What `plain` made this value of. Raises ValueError, TypeError or KeyError where nothing makes it."""
    if hint is Payload:
        return _payload(value)
    if hint is Arguments:
        named = {name: _payload(one) for name, one in value["kwargs"].items()}
        return Arguments(tuple(_payload(one) for one in value["args"]), named)
    if hint is datetime:
        return datetime.fromisoformat(value)
    if hint is timedelta:
        return parse_duration(value)
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return _one_of(get_args(hint), value)
    if origin is tuple:
        return tuple(read(get_args(hint)[0], one) for one in value)
    if origin is not None and issubclass(origin, Mapping):
        return {key: read(get_args(hint)[1], one) for key, one in value.items()}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value) if issubclass(hint, StrEnum) else hint[value.upper()]
    if is_dataclass(hint):
        return _record(hint, value)
    if not isinstance(value, (hint, int) if hint is float else hint):
        raise TypeError(f"{value!r} is no {hint.__name__}")
    return value


def _record(kind: Any, value: Any) -> Any:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    hints, given = _hints(kind), {}
    for one in fields(kind):
        if one.name in value:
            given[one.name] = read(hints[one.name], value[one.name])
        elif one.default is MISSING and one.default_factory is MISSING:
            raise KeyError(one.name)
    if kind is journal.StepResult and given.get("result") is None and given.get("failure") is None:
        given["result"] = Payload(b"null")  # exactly one of them is set, and a step may return None
    return kind(**given)


def _one_of(kinds: tuple[Any, ...], value: Any) -> Any:
    if value is None and type(None) in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    if len(kinds) == 1:
        return read(kinds[0], value)
    named = value.get("type") if isinstance(value, dict) else None
    for kind in kinds:
        if kind.__name__ == named:
            return read(kind, value)
    raise TypeError(f"its type {named!r} is not known")


def _payload(value: Any) -> Payload:
    if isinstance(value, dict) and value.keys() == {ENCODING, DATA}:
        try:
            return Payload(base64.b64decode(value[DATA], validate=True), value[ENCODING])
        except binascii.Error as error:
            raise ValueError(f"{DATA}: {error}") from None
    return Payload(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
