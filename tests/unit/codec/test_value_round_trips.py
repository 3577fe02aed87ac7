"""Values: what goes in comes out, equal and of the same type, and what cannot is refused."""

import json
import math
import subprocess
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from holdfast.codec import Codec
from holdfast.errors import CodecMissing, PayloadNotSerializable, PayloadTooLarge
from holdfast.journal import Payload
from holdfast.limits import Limits
from tests.support.codec_shop import Colour, ExactReading, Line, Money, RawReading, Reading, Size, User

codec = Codec()


def same(value: object, other: object) -> bool:
    return type(value) is type(other) and value == other


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (None, None),
        (True, bool),
        (0, int),
        ("", str),
        ([], list[int]),
        ({}, dict[str, int]),
        (2**200, int),
        (-(2**63) - 1, int),
        (0.1, float),
        (-0.0, float),
        (math.inf, float),
        (-math.inf, float),
        ("a\x00b \u2713 \U0001f600", str),
        (b"\xff\x00\xfe", bytes),
        (b"", bytes),
        ((1, "a"), tuple[int, str]),
        ((1, 2, 3), tuple[int, ...]),
        ((), tuple[()]),
        ({1, 2}, set[int]),
        (frozenset({"a"}), frozenset[str]),
        ({1: "a"}, dict[int, str]),
        ({"a": [1, {"b": None}]}, dict[str, Any]),
        (datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), datetime),
        (datetime(2030, 1, 2, 3, 4, 5), datetime),
        (date(2030, 1, 2), date),
        (time(1, 2, 3, 4), time),
        (timedelta(days=3, microseconds=1), timedelta),
        (timedelta(milliseconds=-500), timedelta),
        (Decimal("9.990"), Decimal),
        (UUID(int=5), UUID),
        (Colour.RED, Colour),
        (Colour.BLUE, Colour),
        (Size.SMALL, Size),
        ({Colour.BLUE: 1}, dict[Colour, int]),
        (User(id=2, name="Bob", tags=frozenset({"a"})), User),
        ([User(id=2, name="Bob")], list[User]),
        (Line("a", b"\xff", Line("b")), Line),
        ({"x": Line("a", b"\x00\xff")}, dict[str, Line]),
        (Money(Decimal("1.20")), Money),
        (ExactReading(value=math.inf, raw=b"\xff"), ExactReading),
        (5, Annotated[int, Field(gt=1)]),
        (5, int | str),
        ("5", int | str),
        (None, User | None),
    ],
)
def test_a_value_comes_back_equal_and_of_the_same_type(value: object, hint: Any) -> None:
    assert same(codec.round_trip(value, hint, "the result"), value)


def test_nan_comes_back_as_nan() -> None:
    assert math.isnan(codec.round_trip(math.nan, float, "the result"))
    assert math.isnan(codec.round_trip({"a": math.nan}, Any, "the result")["a"])


def test_minus_zero_keeps_its_sign() -> None:
    assert math.copysign(1, codec.round_trip(-0.0, float, "the result")) == -1


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=20,
)


@pytest.mark.feature("F54")
@given(json_values)
def test_json_data_comes_back_the_same_without_a_hint(value: Any) -> None:
    assert codec.round_trip(value, Any, "the result") == value


@given(st.dictionaries(st.integers(), st.sets(st.binary(max_size=20), max_size=3), max_size=3))
def test_containers_of_bytes_come_back_the_same_with_a_hint(value: dict[int, set[bytes]]) -> None:
    assert codec.round_trip(value, dict[int, set[bytes]], "the result") == value


@pytest.mark.feature("F55")
@given(st.datetimes(timezones=st.just(UTC)), st.decimals(allow_nan=False, allow_infinity=False), st.uuids())
def test_times_decimals_and_uuids_come_back_the_same(moment: datetime, amount: Decimal, key: UUID) -> None:
    value = (moment, amount, key)
    assert codec.round_trip(value, tuple[datetime, Decimal, UUID], "the result") == value


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        ((1, 2), [1, 2]),
        ({1: "a"}, {"1": "a"}),
        (User(id=2, name="Bob"), {"id": 2, "name": "Bob", "tags": []}),
        (Money(Decimal("1.20")), {"amount": "1.20", "currency": "EUR"}),
        (Colour.BLUE, "blue"),
        (b"hi", "aGk="),
    ],
)
def test_without_a_hint_a_value_becomes_json_data(value: object, seen: object) -> None:
    assert same(codec.round_trip(value, Any, "the result"), seen)


@pytest.mark.parametrize(
    "value",
    [threading.Lock(), object(), len, int, [object()], ValueError("x"), "\ud800", {"a": {"b": threading.Event()}}],
)
def test_what_cannot_be_encoded_is_refused_with_its_type(value: object) -> None:
    with pytest.raises(PayloadNotSerializable) as caught:
        codec.encode(value, what="the result of step charge")
    assert "the result of step charge" in str(caught.value)
    assert caught.value.type_name == type(value).__qualname__


def test_a_value_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(PayloadNotSerializable, match="Circular"):
        codec.encode(value, what="the result")


def test_a_serializer_that_raises_is_a_refusal_and_not_its_own_error() -> None:
    class Broken(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        lock: Any

    with pytest.raises(PayloadNotSerializable):
        codec.encode(Broken(lock=threading.Lock()), what="the result")


@pytest.mark.parametrize("value", [Reading(value=math.nan), {"a": [Reading(value=math.inf)]}])
def test_a_float_that_a_model_would_store_as_null_is_refused_with_the_way_out(value: object) -> None:
    with pytest.raises(PayloadNotSerializable, match="ser_json_inf_nan"):
        codec.encode(value, what="the result")


def test_none_in_a_model_is_not_mistaken_for_a_lost_float() -> None:
    assert codec.round_trip([Reading(value=None)], list[Reading], "x") == [Reading(value=None)]


def test_bytes_that_a_model_cannot_encode_are_refused_with_the_way_out() -> None:
    with pytest.raises(PayloadNotSerializable, match="ser_json_bytes"):
        codec.encode(RawReading(raw=b"\xff"), what="the result")


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b'"x"', int),
        (b"null", int),
        (b"{}", User),
        (b"{", Any),
        (b"", int),
        (b"[1]", object()),
        (b"1", threading.Event),
    ],
)
def test_bytes_that_do_not_fit_the_hint_are_refused(data: bytes, hint: Any) -> None:
    with pytest.raises(PayloadNotSerializable, match="the result of step charge"):
        codec.decode(Payload(data), hint, what="the result of step charge")


def test_an_unknown_encoding_is_refused_by_name() -> None:
    with pytest.raises(CodecMissing, match="encoded as zstd, and this process does not have the codec 'zstd'"):
        codec.decode(Payload(b"1", encoding="zstd"), int, what="the result")


@pytest.mark.feature("F60")
def test_a_value_above_the_limit_is_refused_with_size_and_limit() -> None:
    small = Codec(Limits(payload_bytes=10))
    small.encode("x" * 8, what="the result")
    with pytest.raises(PayloadTooLarge, match=r"the result has 11 bytes, the limit is 10") as caught:
        small.encode("x" * 9, what="the result")
    assert (caught.value.size_bytes, caught.value.limit_bytes) == (11, 10)


def test_an_unhashable_hint_works() -> None:
    hint: Any = Annotated[int, [1]]
    assert codec.round_trip(5, hint, "x") == 5


def test_a_mapping_hint_gives_a_mapping() -> None:
    assert codec.round_trip({"a": 1}, Mapping[str, int], "x") == {"a": 1}


def test_encoding_does_not_depend_on_the_process() -> None:
    script = (
        "from holdfast.codec import Codec\n"
        "from holdfast.definitions.signatures import CallSignature\n"
        "def flow(tags): ...\n"
        "made = Codec().encode_arguments(CallSignature.of(flow), ({'a', 'b', 'c', 'd'},), {}, what='x', hashed=True)\n"
        "print(made.positional[0].content_sha256.hex())\n"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(hashes) == 1


def test_the_stored_form_is_compact_json() -> None:
    assert codec.encode({"a": [1, 2]}, what="x").data == json.dumps({"a": [1, 2]}, separators=(",", ":")).encode()


def test_a_stored_value_that_does_not_fit_its_type_says_as_what_it_cannot_be_read() -> None:
    payload = Codec().encode("x", what="a text")
    with pytest.raises(PayloadNotSerializable, match=r"^the result of run r cannot be read as int: "):
        Codec().decode(payload, int, what="the result of run r")
