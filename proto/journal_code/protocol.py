"""The messages of the journal and the table of kinds, read together. What does not fit raises Disagreement."""

import runpy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

KINDS = "sdk/holdfast/journal/kinds.py"
MADE = f"Made by `make proto` from journal.proto and {KINDS}: change those, not this file."


def load_table(root: Path) -> dict[str, Any]:
    """The names of the table of kinds. Run from its file: the package around it needs the code that is made of it."""
    return runpy.run_path(str(root / KINDS), run_name="kinds")


class Disagreement(Exception):
    """The protocol and the table of kinds do not fit together."""


@dataclass(frozen=True)
class Shape:
    """What a type of the protocol is in Python. to, of, value, default, size are code with holes.

    to: writes {value} into {to}. of: reads {of}. default: of a field that may be left out; "None" where the message
    says whether it is set. size: bytes that {value} adds to the frame of an entry; "" where it fits in.
    words: for people.
    """

    python: str
    to: str
    of: str
    default: str = "None"
    size: str = ""
    words: str = ""


def _plain(python: str, default: str, words: str) -> Shape:
    return Shape(python, "{to} = {value}", "{of}", default, words=words)


def _message(python: str, verb: str, size: str = "") -> Shape:
    return Shape(python, f"write_{verb}({{to}}, {{value}})", f"{verb}_from_message({{of}})", size=size, words=python)


_ENUM_TO = "{to} = {value}  # type: ignore[assignment]  # the same numbers"
_STATUS_TO = "{to} = {value}.number  # type: ignore[assignment]  # the same numbers"
SHAPES = {
    "string": _plain("str", '""', "text"),
    "bool": _plain("bool", "False", "true or false"),
    "int32": _plain("int", "0", "number"),
    "int64": _plain("int", "0", "number"),
    "Timestamp": Shape("datetime", "set_time({to}, {value})", "time_from({of})", words="time"),
    "Duration": Shape("timedelta", "set_span({to}, {value})", "span_from({of})", words="duration"),
    "Payload": _message("Payload", "payload", size="len({value}.data)"),
    "Arguments": _message("Arguments", "arguments", size="{value}.size_bytes"),
    "Failure": _message("Failure", "failure", size="{value}.size_bytes"),
    "AttemptRecord": _message("AttemptRecord", "attempt", size="{value}.size_bytes"),
    "RetryPolicy": _message("RetryPolicy", "retry"),
    "Mail": _message("Mail", "mail"),  # without a size: a worker does not send it, the coordinator adds it
    "StepPlacement": Shape("Placement", _ENUM_TO, "PLACEMENTS[{of}]", "Placement.INLINE", words="StepPlacement"),
    "ClosePolicy": Shape("ClosePolicy", _ENUM_TO, "CLOSE_POLICIES[{of}]", "ClosePolicy.CANCEL", words="ClosePolicy"),
    "AttemptOutcome": Shape("AttemptOutcome", _ENUM_TO, "outcome_of_number({of})", words="AttemptOutcome"),
    "RunStatus": Shape("RunStatus", _STATUS_TO, "status_of_number({of})", words="RunStatus"),
}


@dataclass(frozen=True)
class Field:
    """One field of a record. default: its code; "" when it must be given. of_several: its oneof, when it is in one."""

    name: str
    shape: Shape
    default: str
    is_list: bool
    may_be_none: bool
    of_several: str
    size: str
    words: str

    @property
    def annotation(self) -> str:
        python = f"tuple[{self.shape.python}, ...]" if self.is_list else self.shape.python
        return f"{python} | None" if self.may_be_none else python


@dataclass(frozen=True)
class Message:
    """A record: its class name, its fields in the order of its parameters, its row and what the protocol says of it.

    at: its field in the message around it; "" for one that is not a kind. of_message: all fields, also those without
    a place in the record, in the order of the protocol.
    """

    name: str
    at: str
    row: Any
    fields: Sequence[Field]
    of_message: Sequence[Field]
    words: str

    @property
    def docstring(self) -> str:
        several: dict[str, list[str]] = {}
        for field in self.fields:
            if field.of_several:
                several.setdefault(field.of_several, []).append(field.name)
        exact = "".join(f" Exactly one of {' and '.join(names)} is set." for names in several.values())
        return f"{self.words}{exact}"


class Protocol:
    """The messages of the journal, with the sentences of the proto."""

    def __init__(self, files: FileDescriptorSet, table: dict[str, Any]) -> None:
        (self._file,) = (one for one in files.file if one.name.endswith("/journal.proto"))
        self._words = dict(_comments(self._file))
        self._places = {message.name: place for place, message in enumerate(self._file.message_type)}
        self.attempt = self._message(table["ATTEMPT"].name, "", table["ATTEMPT"])
        self.mail = self._kinds("Mail", table["MAIL_KINDS"], table["RESERVED_MAIL"])
        self.entries = self._kinds("Entry", table["ENTRY_KINDS"], table["RESERVED_ENTRIES"])

    def _kinds(self, parent: str, rows: dict[str, Any], reserved: Iterable[str]) -> list[Message]:
        place = self._places[parent]
        kinds = [field for field in self._file.message_type[place].field if field.HasField("oneof_index")]
        if names := [field.name for field in kinds if field.name not in reserved and field.name not in rows]:
            raise Disagreement(f"{', '.join(names)} of {parent}.body: no row in {KINDS} says who writes it and why")
        if names := sorted((set(rows) | set(reserved)) - {field.name for field in kinds}):
            raise Disagreement(f"{', '.join(names)} of {KINDS}: {parent}.body in journal.proto has no such field")
        return [
            self._message(_last(field.type_name), field.name, rows[field.name]) for field in kinds if field.name in rows
        ]

    def _message(self, name: str, at: str, row: Any) -> Message:
        place = self._places[name]
        message = self._file.message_type[place]
        by_name = {
            field.name: self._field(message, field, self._words.get((4, place, 2, number), ""), row)
            for number, field in enumerate(message.field)
        }
        if unknown := sorted({*row.required, *row.defaults, *row.texts, *row.left_out} - set(by_name)):
            raise Disagreement(f"{', '.join(unknown)} of {name} in {KINDS}: journal.proto has no such field")
        order = [*row.required, *(one for one in by_name if one not in row.required and one not in row.left_out)]
        words = self._words.get((4, place), name)
        return Message(name, at, row, [by_name[one] for one in order], list(by_name.values()), words)

    @staticmethod
    def _field(message: DescriptorProto, field: FieldDescriptorProto, words: str, row: Any) -> Field:
        type_name = _last(field.type_name) or FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
        shape = SHAPES.get(type_name)
        if shape is None:
            raise Disagreement(f"{message.name}.{field.name}: {Path(__file__).name} has no shape for {type_name}")
        is_list = field.label == FieldDescriptorProto.LABEL_REPEATED
        default = "()" if is_list else shape.default
        if field.name in row.defaults:
            default = repr(row.defaults[field.name])
        is_required = field.name in row.required
        # Mail that is consumed has no size: a worker does not send it, the coordinator adds it.
        size = "{value}.body.size_bytes" if is_list and type_name == "Mail" else shape.size
        in_oneof = field.HasField("oneof_index") and not field.proto3_optional
        return Field(
            field.name,
            shape,
            "" if is_required else default,
            is_list,
            not is_required and (default == "None" or field.proto3_optional),
            message.oneof_decl[field.oneof_index].name if in_oneof else "",
            "4 * len({value})" if field.name in row.texts else size,
            words,
        )


def _last(type_name: str) -> str:
    return type_name.rpartition(".")[2]


def _comments(file: FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
    for location in file.source_code_info.location:
        if location.leading_comments:
            yield tuple(location.path), " ".join(location.leading_comments.split())
