"""The table of kinds beside the protocol, and the groups that are made of it."""

from collections.abc import Iterable

from holdfast import journal
from holdfast.api.v1 import journal_pb2
from holdfast.client import HistoryEntry
from holdfast.client.story import Event, story_of
from holdfast.journal import kinds
from holdfast.workflow import instance
from holdfast_coordinator.rpc.worker_shapes import BODIES
from tests.support.sample_records import all_samples

ENTRY = journal_pb2.Entry.DESCRIPTOR
MAIL = journal_pb2.Mail.DESCRIPTOR


def test_every_entry_of_the_protocol_has_a_row_or_is_reserved() -> None:
    of_protocol = [field.name for field in ENTRY.oneofs_by_name["body"].fields]
    assert [name for name in of_protocol if name not in kinds.RESERVED_ENTRIES] == list(kinds.ENTRY_KINDS)
    assert set(of_protocol) > kinds.RESERVED_ENTRIES


def test_every_mail_of_the_protocol_has_a_row_or_is_reserved() -> None:
    of_protocol = [field.name for field in MAIL.oneofs_by_name["body"].fields]
    assert [name for name in of_protocol if name not in kinds.RESERVED_MAIL] == list(kinds.MAIL_KINDS)


def test_what_a_row_names_are_fields_of_its_message() -> None:
    for parent, rows in ((ENTRY, kinds.ENTRY_KINDS), (MAIL, kinds.MAIL_KINDS)):
        for kind in rows.values():
            fields = set(parent.fields_by_name[kind.name].message_type.fields_by_name)
            assert fields.issuperset(kind.required), kind
    for row in kinds.ENTRY_KINDS.values():
        fields = set(ENTRY.fields_by_name[row.name].message_type.fields_by_name)
        assert fields.issuperset([*row.defaults, *row.left_out, *row.texts]), row


def test_an_entry_about_a_part_of_the_run_says_which_one() -> None:
    for row in kinds.ENTRY_KINDS.values():
        assert ("number" in row.required) == (row.about is not kinds.Subject.RUN), row


def test_the_coordinator_checks_what_a_worker_may_write_and_nothing_else() -> None:
    assert set(BODIES) == kinds.WORKER_ENTRIES


def test_the_groups_are_those_that_the_code_is_written_for() -> None:
    assert {"step_completed", "step_failed", "step_cancelled"} == kinds.STEP_ENDS
    assert kinds.STEP_ENDS | {"attempt_ended"} == kinds.ATTEMPT_ENDS
    assert kinds.ATTEMPT_ENDS - {"step_cancelled"} == kinds.ATTEMPT_RESULTS
    assert {
        "attempt_started",
        "step_completed",
        "step_failed",
        "user_span_began",
        "user_span",
        "signal_set_aside",
        "step_skipped",
        "patched",
        "noted",
    } == kinds.STORED_ENTRIES
    assert kinds.ATTEMPT_ENDS | {"step_scheduled", "attempt_started", "step_skipped"} == kinds.OF_STEPS
    assert {"child_started", "child_cancelled", "mail_sent"} == kinds.OF_CHILDREN


def names_of(records: Iterable[type]) -> set[str]:
    names = {field.message_type.name: field.name for field in ENTRY.oneofs_by_name["body"].fields}
    return {names[record.__name__] for record in records}


def test_a_replay_does_with_each_kind_what_its_row_says() -> None:
    expected = {
        replay: {row.name for row in kinds.ENTRY_KINDS.values() if row.replay is replay} for replay in kinds.Replay
    }
    assert names_of([*instance._LEDGER_MATCHERS, *instance._MATCHERS]) == expected[kinds.Replay.DECIDED]
    assert names_of(instance._OBSERVERS) == expected[kinds.Replay.OBSERVED]


def test_each_kind_has_words_in_the_history_of_a_run() -> None:
    for name, record in all_samples():
        if not isinstance(record, journal.Mail):
            for part in story_of([HistoryEntry(1, 1, record)]):
                assert not isinstance(part, Event) or type(record).__name__ not in part.text, name
