"""The bytes of every kind of entry and mail stay what they were: journals outlive the version that wrote them.

golden_entries.json changes only where a kind gets a field, by `python -m tests.unit.wire.test_golden_entries`.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from holdfast import journal, wire
from holdfast.api.v1 import journal_pb2
from holdfast.journal.values import FRAME_BYTES
from tests.support.sample_records import all_samples
from tests.support.wire_messages import message_of

GOLDEN = Path(__file__).with_name("golden_entries.json")


def encoded(record: Any) -> str:
    return message_of(record).SerializeToString(deterministic=True).hex()


@pytest.mark.parametrize(("name", "record"), list(all_samples()), ids=lambda value: value if type(value) is str else "")
def test_the_bytes_of_a_record_are_what_they_were(name: str, record: Any) -> None:
    golden = json.loads(GOLDEN.read_text())[name]
    assert encoded(record) == golden
    if isinstance(record, journal.Mail):
        assert wire.mail_from_message(journal_pb2.Mail.FromString(bytes.fromhex(golden))) == record
    else:
        assert wire.entry_from_message(journal_pb2.Entry.FromString(bytes.fromhex(golden))) == record


@pytest.mark.parametrize(("name", "record"), list(all_samples()), ids=lambda value: value if type(value) is str else "")
def test_a_record_is_no_larger_on_the_wire_than_it_says(name: str, record: Any) -> None:
    if isinstance(record, journal.Mail):
        size = record.body.size_bytes + FRAME_BYTES
    elif isinstance(record, journal.MailConsumed | journal.MailUndelivered):
        size = record.size_bytes + (record.mail.body.size_bytes if record.mail is not None else 0)
    else:
        size = record.size_bytes
    assert len(bytes.fromhex(encoded(record))) <= size


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({name: encoded(record) for name, record in all_samples()}, indent=1) + "\n")
