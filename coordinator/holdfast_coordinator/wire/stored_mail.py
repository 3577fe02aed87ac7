"""Journal rows with mail whose bodies stay in the database: what is written around each body.

Pure. A message in protobuf is preceded by its length, and merges with what follows it; so an entry is written around a
body of which only the size is known.
"""

from holdfast.api.v1 import journal_pb2
from holdfast.wire import set_time
from holdfast_coordinator.domain.mail import StoredBody
from holdfast_coordinator.domain.rows import CoordinatorEntry, JournalRow, MailConsumedEntry, MailUndeliveredEntry

from .entries import join_entries
from .protobuf_bytes import field_head, varint_field

Part = tuple[bytes, int | None]
"""Bytes, and the number of the mail whose body follows them, if one does."""


def _number(message: type, field: str) -> int:
    number: int = message.DESCRIPTOR.fields_by_name[field].number  # type: ignore[attr-defined]
    return number


_ENTRIES = _number(journal_pb2.JournalRow, "entries")
_CONSUMED = _number(journal_pb2.Entry, "mail_consumed")
_UNDELIVERED = _number(journal_pb2.Entry, "mail_undelivered")
_MAIL_NUMBER = _number(journal_pb2.MailConsumed, "number")
_MAIL = _number(journal_pb2.MailConsumed, "mail")
assert tuple(_number(journal_pb2.MailUndelivered, name) for name in ("number", "mail")) == (_MAIL_NUMBER, _MAIL)


def parts_of(row: JournalRow) -> list[Part]:
    """The entries of a row, cut before each body that stays in the database."""
    parts: list[Part] = []
    before: list[bytes] = []
    for entry in row.entries:
        stored = _stored(entry)
        if stored is None:
            before.append(join_entries([entry]))
            continue
        head, tail = _around(*stored)
        parts.append((b"".join([*before, head]), stored[0].mail.number))
        before = [tail]
    return [*parts, (b"".join(before), None)]


def _stored(
    entry: bytes | CoordinatorEntry,
) -> tuple[MailConsumedEntry | MailUndeliveredEntry, StoredBody] | None:
    if isinstance(entry, MailConsumedEntry | MailUndeliveredEntry) and isinstance(entry.mail.body, StoredBody):
        return entry, entry.mail.body
    return None


def _around(entry: MailConsumedEntry | MailUndeliveredEntry, body: StoredBody) -> tuple[bytes, bytes]:
    """What an entry of a JournalRow message has before and behind the body of its mail."""
    rest_of_mail, start = journal_pb2.Mail(number=entry.mail.number), journal_pb2.Entry()
    set_time(rest_of_mail.arrived_at, entry.mail.arrived_at)
    set_time(start.at, entry.at)
    tail = rest_of_mail.SerializeToString()
    head = varint_field(_MAIL_NUMBER, entry.mail.number) + field_head(_MAIL, body.size + len(tail))
    field = _UNDELIVERED
    if isinstance(entry, MailConsumedEntry):
        field = _CONSUMED
        if entry.awaited_since is not None:
            since = journal_pb2.MailConsumed()
            set_time(since.awaited_since, entry.awaited_since)
            tail += since.SerializeToString()
    head = start.SerializeToString() + field_head(field, len(head) + body.size + len(tail)) + head
    return field_head(_ENTRIES, len(head) + body.size + len(tail)) + head, tail
