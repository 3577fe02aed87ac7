"""The records: one slotted class per kind, with an estimate of its size."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from .protocol import MADE, Field, Message, Protocol
from .python import LINE_MAX, imports

PATH = "sdk/holdfast/journal/records.py"
_AT = "    at: datetime\n"


def text(protocol: Protocol) -> str:
    """The module of the records."""
    body = [
        *_record(protocol.attempt, size_from=()),
        "\n\n# What mail says",
        *(line for one in protocol.mail for line in _record(one, size_from=())),
        _union("MailBody", protocol.mail),
        _MAIL,
        "\n\n# Entries. `at` comes first in each: never before the `at` of the entry before it.",
        *(
            line
            for one in protocol.entries
            for line in _record(one, size_from=["FRAME_BYTES"], at="    at: datetime\n")
        ),
        _union("Entry", protocol.entries),
    ]
    code = "\n".join(body) + "\n"
    kinds = [one.name for one in (*protocol.mail, *protocol.entries)]
    head = [
        f'"""One slotted record per kind of entry and of mail.\n\n{MADE}\n',
        "Field by field they are the messages of journal.proto, which say the units and what absence means. Instants",
        "are aware UTC; spans of time are timedeltas. size_bytes: an upper estimate of the size on the wire; of what",
        'mail says and of attempts without their frame.\n"""\n',
        *imports("datetime", "datetime timedelta", code),
        "from typing import ClassVar\n",
        "from holdfast.record import record",
        *imports("holdfast.statuses", "AttemptOutcome ClosePolicy Placement RunStatus", code),
        "",
        *imports(".values", "FRAME_BYTES Arguments Failure Payload RetryPolicy TraceContext", code),
        "\n__all__ = [",
        *(f'    "{name}",' for name in sorted(["AttemptRecord", "Entry", "Mail", "MailBody", *kinds])),
        "]\n",
    ]
    return "\n".join(head) + code


def _record(message: Message, *, size_from: Sequence[str], at: str = "") -> Iterator[str]:
    yield "\n\n@record"
    yield f"class {message.name}:"
    yield _docstring(message.docstring)
    fields = [f"    {one.name}: {one.annotation}{f' = {one.default}' if one.default else ''}" for one in message.fields]
    yield at + "\n".join(fields)
    sized = [one for one in message.fields if one.size]
    perhaps = [one for one in sized if one.may_be_none]
    always = " + ".join([*size_from, *(_size(one) for one in sized if not one.may_be_none)]) or "0"
    if not sized:
        yield f"    size_bytes: ClassVar[int] = {always}"
        return
    yield "\n    @property\n    def size_bytes(self) -> int:"
    if not perhaps:
        yield f"        return {always}"
        return
    yield f"        size = {always}"
    for field in perhaps:
        yield f"        if self.{field.name} is not None:\n            size += {_size(field)}"
    yield "        return size"


def _size(field: Field) -> str:
    if field.is_list:
        return f"sum([FRAME_BYTES + {field.size.format(value='one')} for one in self.{field.name}])"
    return field.size.format(value=f"self.{field.name}")


def _docstring(words: str) -> str:
    lines = textwrap.wrap(words, LINE_MAX - 12)
    if len(lines) == 1:
        return f'    """{words}"""\n'
    return "\n".join([f'    """{lines[0]}', *(f"    {line}" for line in lines[1:]), '    """\n'])


def _union(name: str, messages: Iterable[Message]) -> str:
    names = [one.name for one in messages]
    short = f"{name} = {' | '.join(names)}"
    return "\n\n" + (short if len(short) <= LINE_MAX else f"{name} = (\n    " + "\n    | ".join(names) + "\n)")


_MAIL = '''

@record
class Mail:
    """A message that arrived for a run; numbered from 1 in arrival order."""

    number: int
    arrived_at: datetime
    body: MailBody
    trace: TraceContext | None = None'''
