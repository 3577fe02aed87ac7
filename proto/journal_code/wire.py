"""The wire code of the SDK: one function per kind that writes it and one that reads it."""

from collections.abc import Iterator, Sequence

from .protocol import MADE, Field, Message, Protocol
from .python import imports

PATH = "sdk/holdfast/wire/entries.py"
_VALUES = """
    CLOSE_POLICIES PLACEMENTS arguments_from_message failure_from_message outcome_of_number payload_from_message
    retry_from_message set_span set_time span_from status_of_number time_from trace_from_message write_arguments
    write_failure write_payload write_retry write_trace
"""


def text(protocol: Protocol) -> str:
    """The module that writes and reads the messages."""
    body = [
        *_writer("write_attempt", protocol.attempt, "AttemptRecord"),
        *_reader("attempt_from_message", protocol.attempt),
        "\n\n# Mail",
        *_both_ways(protocol.mail, "Mail", "journal.MailBody"),
        _MAIL_ENVELOPE,
        "\n\n# Entries",
        *_both_ways(protocol.entries, "Entry", "journal.Entry", at="at"),
        _ENTRY_ENVELOPE,
    ]
    code = "\n".join(body) + "\n"
    head = [
        f'"""Entries and mail as protobuf messages, both ways.\n\n{MADE}\n',
        "Hot path: see `wire.values` for how messages are filled. Nothing here decides or checks anything.",
        '"""\n',
        "from collections.abc import Callable",
        "from datetime import datetime",
        "from typing import Any\n",
        "from holdfast import journal",
        "from holdfast.api.v1 import journal_pb2",
        *imports("holdfast.wire.values", _VALUES, code),
        "",
    ]
    return "\n".join(head) + code


def _both_ways(messages: Sequence[Message], parent: str, union: str, *, at: str = "") -> Iterator[str]:
    for one in messages:
        yield from _writer(f"_write_{one.at}", one, parent)
        yield from _reader(f"_read_{one.at}", one, at)
    yield f"\n\n_{parent.upper()}_WRITERS: dict[type, Callable[[journal_pb2.{parent}, Any], None]] = {{"
    yield from (f"    journal.{one.name}: _write_{one.at}," for one in messages)
    yield f"}}\n_{parent.upper()}_READERS: dict[str, Callable[[{'datetime, ' if at else ''}Any], {union}]] = {{"
    yield from (f'    "{one.at}": _read_{one.at},' for one in messages)
    yield "}"


def _writer(name: str, message: Message, into: str) -> Iterator[str]:
    yield f"\n\ndef {name}(message: journal_pb2.{into}, record: journal.{message.name}) -> None:"
    body = "body" if message.at else "message"
    if message.at:
        yield f"    body = message.{message.at}"
    if all(field.default or field.is_list for field in message.fields):
        yield f"    {body}.SetInParent()"  # nothing that is always written says that it is there
    previous = ""
    for field in message.fields:
        value = f"record.{field.name}"
        if field.is_list:
            yield f"    for one in {value}:"
            yield f"        {field.shape.to.format(to=f'{body}.{field.name}.add()', value='one')}"
            continue
        write = field.shape.to.format(to=f"{body}.{field.name}", value=value)
        if not field.default:
            yield f"    {write}"
            continue
        is_other = bool(field.of_several) and field.of_several == previous
        yield f"    {'elif' if is_other else 'if'} {value}{' is not None' if field.may_be_none else ''}:"
        if field.may_be_none and field.shape.python == "Arguments":
            yield f"        {body}.{field.name}.SetInParent()"  # also an empty list is there
        yield f"        {write}"
        previous = field.of_several


def _reader(name: str, message: Message, at: str = "") -> Iterator[str]:
    record = f"journal.{message.name}"
    parts = [*([at] if at else []), *map(_read, message.fields)]
    first = f"{at}: datetime, " if at else ""
    yield f"\n\ndef {name}({first}body: journal_pb2.{message.name}) -> {record}:"
    if len(parts) < 3:
        yield f"    return {record}({', '.join(parts)})"
    else:
        yield f"    return {record}("
        yield from (f"        {part}," for part in parts)
        yield "    )"


def _read(field: Field) -> str:
    if field.is_list:
        return f"tuple([{field.shape.of.format(of='one')} for one in body.{field.name}])"
    read = field.shape.of.format(of=f"body.{field.name}")
    return f'{read} if body.HasField("{field.name}") else None' if field.may_be_none else read


_MAIL_ENVELOPE = '''

def write_mail(message: journal_pb2.Mail, mail: journal.Mail) -> None:
    """Writes into an empty message."""
    message.number = mail.number
    set_time(message.arrived_at, mail.arrived_at)
    if mail.trace is not None:
        write_trace(message.trace, mail.trace)
    write_mail_body(message, mail.body)


def write_mail_body(message: journal_pb2.Mail, body: journal.MailBody) -> None:
    """Writes what mail says into a message that says nothing yet."""
    _MAIL_WRITERS[type(body)](message, body)


def mail_from_message(message: journal_pb2.Mail) -> journal.Mail:
    """Raises ValueError for a kind of mail that this SDK does not know."""
    kind = message.WhichOneof("body")
    read = _MAIL_READERS.get(kind) if kind is not None else None
    if kind is None or read is None:
        raise ValueError("mail of a kind that this version of holdfast does not know; upgrade it")
    return journal.Mail(
        message.number,
        time_from(message.arrived_at),
        read(getattr(message, kind)),
        trace_from_message(message.trace) if message.HasField("trace") else None,
    )'''

_ENTRY_ENVELOPE = '''

def write_entry(message: journal_pb2.Entry, entry: journal.Entry) -> None:
    """Writes an entry into an empty message, for example `transition.entries.add()`."""
    set_time(message.at, entry.at)
    _ENTRY_WRITERS[type(entry)](message, entry)


def entry_from_message(message: journal_pb2.Entry) -> journal.Entry:
    """Raises ValueError for a kind of entry that this SDK does not know."""
    kind = message.WhichOneof("body")
    read = _ENTRY_READERS.get(kind) if kind is not None else None
    if kind is None or read is None:
        raise ValueError("an entry of a kind that this version of holdfast does not know; upgrade it")
    return read(time_from(message.at), getattr(message, kind))'''
