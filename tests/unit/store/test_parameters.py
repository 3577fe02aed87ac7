"""The binary encoders against psycopg's own."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg.adapt import PyFormat, Transformer
from psycopg.types.json import Jsonb
from psycopg.types.numeric import Int2, Int4, Int8

from holdfast_coordinator.store import parameters
from holdfast_coordinator.store.database_connection import Statement
from holdfast_coordinator.store.parameters import Type
from holdfast_coordinator.store.port import DataRejected

TIMES = [datetime(1999, 12, 31, 23, 59, 59, 999_999, UTC), datetime(2026, 5, 4, 3, 2, 1, 123_456, UTC)]


@pytest.mark.parametrize(
    ("kind", "values", "known_as"),
    [
        (parameters.TEXTS, ["a", "", "ä🙂"], str),
        (parameters.BYTES, [b"", b"\x00\xff"], bytes),
        (parameters.BIGINTS, [0, -1, 2**62], Int8),
        (parameters.INTS, [0, -1, 2**31 - 1], Int4),
        (parameters.SMALLINTS, [0, -1, 2**15 - 1], Int2),
        (parameters.FLAGS, [True, False], bool),
        (parameters.TIMES, TIMES, lambda at: at),
        (parameters.INTERVALS, [timedelta(0), timedelta(hours=5, microseconds=1)], lambda span: span),
        (parameters.JSONS, [{"a": "b"}], Jsonb),
    ],
    ids=lambda value: value.name if isinstance(value, Type) else "",
)
@pytest.mark.parametrize("with_null", [False, True])
def test_arrays_are_encoded_like_psycopg_does(kind: Type, values: list[Any], known_as: Any, with_null: bool) -> None:
    values = [*values, None] if with_null else values
    known = [None if value is None else known_as(value) for value in values]
    dumper = Transformer().get_dumper(known, PyFormat.BINARY)
    dumper = dumper.upgrade(known, PyFormat.BINARY)
    expected = bytes(dumper.dump(known) or b"")
    if kind is parameters.JSONS:
        expected = expected.replace(b'{"a": "b"}', b'{"a":"b"}').replace(b"\x00\x00\x00\x0b", b"\x00\x00\x00\x0a")
    assert kind.encode(values) == expected


@pytest.mark.parametrize("kind", [parameters.TEXTS, parameters.BIGINTS])
def test_arrays_of_nothing_and_of_nulls_can_be_encoded(kind: Type) -> None:
    assert len(kind.encode([])) == 12
    assert kind.encode([None, None])[20:] == b"\xff" * 8


@pytest.mark.parametrize(
    ("kind", "values"),
    [(parameters.TEXTS, ["\ud800"]), (parameters.INTS, [2**31]), (parameters.TIMES, [datetime(2026, 1, 1)])],
)
def test_what_postgres_could_not_take_is_rejected_before_it_is_sent(kind: Type, values: list[Any]) -> None:
    with pytest.raises(DataRejected, match="save"):
        Statement("save", "SELECT $1", (kind,))(values)
