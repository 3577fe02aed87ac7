"""Histories as JSON: written, kept beside the code, read back as they were."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast import journal as j
from holdfast.replay.files import HistoryUnreadable, history_values, plain, read, read_histories
from holdfast.replay.stored import StoredRun
from holdfast.workflow.current_run import RunInfo
from tests.support.wire_strategies import entries

AT = datetime(2026, 1, 1, tzinfo=UTC)


@settings(deadline=None)
@given(entry=entries)
def test_what_is_read_is_written_again_as_it_was(entry: j.Entry) -> None:
    written = json.loads(json.dumps(plain(entry)))
    assert plain(read(type(entry), written)) == written


@settings(deadline=None)
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda one: st.lists(one) | st.dictionaries(st.text(), one),
    )
)
def test_values_of_users_are_the_same_afterwards(value: object) -> None:
    payload = j.Payload(json.dumps(value).encode())
    again = read(j.Payload, json.loads(json.dumps(plain(payload))))
    assert json.loads(again.data) == value


def test_a_value_in_another_encoding_is_kept_as_it_is_stored() -> None:
    payload = j.Payload(b"\x00\xff", "json+aes-gcm/1")
    assert read(j.Payload, json.loads(json.dumps(plain(payload)))) == payload


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.json"
    path.write_text(text)
    return path


def test_a_history_comes_back_with_what_its_run_was_started_with(tmp_path: Path) -> None:
    info = RunInfo("run_1", "order", "o-1", "fast", "shop", "run_0", AT, {"team": "billing"})
    arguments = j.Arguments((j.Payload(b'"o-1"'),), {"amount": j.Payload(b'"9.99"')})
    stored = StoredRun(info, arguments, (j.RunStarted(AT, "order"), j.TimerSet(AT, 1, until=AT)))
    values = history_values(stored, {2: 7})
    assert [(one["seq"], one["type"], one["epoch"]) for one in values] == [(1, "RunStarted", 0), (2, "TimerSet", 7)]
    path = _file(tmp_path, json.dumps(values))
    (again,) = read_histories(path)
    assert again == StoredRun(info, arguments, stored.entries, source=str(path))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no json", "it is not JSON"),
        ('{"a": 1}', "it is not a list of entries"),
        ("[]", "does not begin with RunStarted"),
        ('[{"seq": 1, "type": "RunBegun"}]', "entry 1 has the type 'RunBegun', which is not known"),
        ('[{"seq": 2, "type": "RunStarted"}]', r"entry 1 is missing or out of order \(seq 2\)"),
        ('[{"seq": 1, "type": "RunStarted", "at": "soon", "workflow": "x"}]', "entry 1, RunStarted, is not understood"),
        ('[{"seq": 1, "type": "RunStarted", "at": "2026-01-01T00:00:00+00:00", "workflow": "x"}]', "does not say what"),
    ],
)
def test_a_file_that_holds_no_history_is_refused_with_the_reason(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(HistoryUnreadable, match=reason):
        read_histories(_file(tmp_path, text))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HistoryUnreadable, match="No such file"):
        read_histories(tmp_path / "none.json")
