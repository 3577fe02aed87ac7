"""Records as messages of their own. Only tests need them so: elsewhere they are written into larger ones."""

from collections.abc import Callable
from typing import Any

from holdfast import journal, wire
from holdfast.api.v1 import journal_pb2


def written(write: Callable[[Any, Any], None], message: Any, record: Any) -> Any:
    """The message, with the record written into it."""
    write(message, record)
    return message


def message_of(record: journal.Entry | journal.Mail) -> Any:
    """An entry, or a piece of mail."""
    if isinstance(record, journal.Mail):
        return written(wire.write_mail, journal_pb2.Mail(), record)
    return written(wire.write_entry, journal_pb2.Entry(), record)
