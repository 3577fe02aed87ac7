"""What is made of the protocol and the table of kinds, and what is said when they do not fit."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorSet

from holdfast.journal import kinds

sys.path.append(str(Path(__file__).resolve().parents[3] / "proto"))  # the generator is no package that is installed
from generate import descriptors, stale_files
from journal_code import Disagreement, made

ROW = kinds.EntryKind(
    "run_renamed", kinds.Subject.RUN, kinds.Writer.COORDINATOR, kinds.Replay.PASSED, required=("name",)
)


@pytest.fixture(scope="module")
def protos() -> FileDescriptorSet:
    return descriptors()


@pytest.fixture
def protocol(protos: FileDescriptorSet) -> FileDescriptorSet:
    files = FileDescriptorSet()
    files.CopyFrom(protos)
    return files


def message_of(files: FileDescriptorSet, name: str) -> Any:
    return next(message for file in files.file for message in file.message_type if message.name == name)


def with_a_new_kind(files: FileDescriptorSet) -> FileDescriptorSet:
    (journal,) = (file for file in files.file if file.name.endswith("/journal.proto"))
    message = journal.message_type.add(name="RunRenamed")
    message.field.add(name="name", number=1, type=FieldDescriptorProto.TYPE_STRING)
    message_of(files, "Entry").field.add(
        name="run_renamed",
        number=99,
        type=FieldDescriptorProto.TYPE_MESSAGE,
        type_name=".holdfast.api.v1.RunRenamed",
        oneof_index=0,
    )
    return files


def table(**changed: Any) -> dict[str, Any]:
    return {**vars(kinds), **changed}


def test_a_kind_of_the_protocol_without_a_row_is_named(protocol: FileDescriptorSet) -> None:
    with pytest.raises(Disagreement, match=r"run_renamed of Entry\.body: no row in .*kinds\.py"):
        made(with_a_new_kind(protocol), table())


def test_a_row_without_a_message_is_named(protocol: FileDescriptorSet) -> None:
    with pytest.raises(Disagreement, match=r"run_renamed of .*kinds\.py: Entry\.body in journal\.proto has no such"):
        made(protocol, table(ENTRY_KINDS={**kinds.ENTRY_KINDS, ROW.name: ROW}))


def test_a_row_that_names_a_field_that_is_none_is_refused(protocol: FileDescriptorSet) -> None:
    row = replace(kinds.ENTRY_KINDS["timer_set"], required=("number", "colour"))
    with pytest.raises(Disagreement, match=r"colour of TimerSet"):
        made(protocol, table(ENTRY_KINDS={**kinds.ENTRY_KINDS, row.name: row}))


def test_a_field_of_a_type_without_python_code_is_named(protocol: FileDescriptorSet) -> None:
    message_of(protocol, "TimerSet").field.add(name="share", number=9, type=FieldDescriptorProto.TYPE_FLOAT)
    with pytest.raises(Disagreement, match=r"TimerSet\.share: .* float"):
        made(protocol, table())


def test_a_new_kind_without_its_record_and_wire_code_makes_the_check_fail(protocol: FileDescriptorSet) -> None:
    assert stale_files(made(protocol, table())) == []
    texts = made(with_a_new_kind(protocol), table(ENTRY_KINDS={**kinds.ENTRY_KINDS, ROW.name: ROW}))
    assert {"sdk/holdfast/journal/records.py", "sdk/holdfast/wire/entries.py"} <= set(stale_files(texts))
    assert "class RunRenamed:" in texts["sdk/holdfast/journal/records.py"]
    for part in ("    journal.RunRenamed: _write_run_renamed,", '    "run_renamed": _read_run_renamed,'):
        assert part in texts["sdk/holdfast/wire/entries.py"]
