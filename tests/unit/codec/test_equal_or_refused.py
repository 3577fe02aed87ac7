"""Pairs of type and value: what comes back is equal and of the same class, or the value was refused."""

import dataclasses
import ipaddress
import math
import re
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Optional
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel, SecretBytes, SecretStr

from holdfast.codec import Codec
from holdfast.errors import PayloadNotSerializable
from tests.support import value_zoo as zoo

codec = Codec()

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2030, 1, 2, 12, 0, 0, 1, tzinfo=UTC)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


EQUAL: list[tuple[Any, Any]] = [
    (int, 0),
    (int, -(2**70)),
    (int, 10**4299),
    (float, -0.0),
    (float, math.nan),
    (float, math.inf),
    (float, 5e-324),
    (str, "a\x00b \u2713 \U0001f600"),
    (bytes, b"\xff\x00"),
    (type(None), None),
    (Optional[int], None),  # noqa: UP045
    (int | None, 5),
    (str | int, "5"),
    (str | int, 5),
    (list[int], []),
    (list[list[str]], [["a"], []]),
    (dict[str, int], {"b": 1, "a": 2}),
    (dict[int, str], {1: "a", -1: "b"}),
    (dict[bool, int], {True: 1}),
    (dict[float, int], {1.5: 1, math.inf: 2}),
    (dict[date, int], {date(2030, 1, 2): 1}),
    (dict[UUID, int], {UUID(int=1): 1}),
    (dict[Decimal, int], {Decimal("1.50"): 1}),
    (dict[zoo.Colour, int], {zoo.Colour.BLUE: 1}),
    (dict[bytes, int], {b"\xff": 1}),
    (tuple[int, str], (1, "a")),
    (tuple[int, ...], (1, 2)),
    (tuple[()], ()),
    (set[str], {"a", "b"}),
    (frozenset[tuple[int, int]], frozenset({(1, 2)})),
    (Sequence[int], [1, 2]),
    (Iterable[int], [1, 2]),
    (Mapping[str, int], {"a": 1}),
    (AbstractSet[int], frozenset({1})),
    (str | UUID, UUID(int=1)),
    (deque[int], deque([1, 2])),
    (Counter[str], Counter("aab")),
    (defaultdict[str, int], defaultdict(int, a=1)),
    (OrderedDict[str, int], OrderedDict(a=1)),
    (datetime, NOON),
    (datetime, NOON.replace(tzinfo=None)),
    (datetime, NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))),
    (datetime, NOON.replace(tzinfo=ZoneInfo("UTC"))),
    (date, date(1, 1, 1)),
    (time, time(1, 2, 3, 4)),
    (timedelta, timedelta(days=-3, microseconds=1)),
    (Decimal, Decimal("1.500")),
    (Decimal, Decimal("-0")),
    (Decimal, Decimal("1E+40")),
    (UUID, UUID(int=5)),
    (Path, Path("/a/b")),
    (ipaddress.IPv4Address, ipaddress.IPv4Address("127.0.0.1")),
    (re.Pattern[str], re.compile("a+")),
    (complex, 1 + 2j),
    (zoo.Colour, zoo.Colour.RED),
    (zoo.Level, zoo.Level.LOW),
    (zoo.Status | None, zoo.Status.PAID),
    (Literal["a", 1], 1),
    (zoo.UserId, 5),
    (zoo.Positive, 5),
    (zoo.Even, 4),
    (zoo.Camel, zoo.Camel(firstName="A", lastName="B")),
    (list[zoo.Camel], [zoo.Camel(firstName="A")]),
    (zoo.Aliased, zoo.Aliased(**{"the_one": 1, "two": 2, "3": 30, "vier": 40})),
    (zoo.ByAlias, zoo.ByAlias(Amount=1)),
    (zoo.Strict, zoo.Strict(width=3)),
    (dict[str, zoo.Strict], {"a": zoo.Strict(width=3)}),
    (zoo.Hidden, zoo.Hidden(shown=1)),
    (zoo.Animal, zoo.Animal(name="a")),
    (zoo.Animal | zoo.Cat, zoo.Animal(name="a")),
    (zoo.TaggedCat | zoo.TaggedBird, zoo.TaggedBird(name="a")),
    (zoo.Open, zoo.Open(id=1, more=[1], text="x")),
    (zoo.Cached, zoo.Cached(id=1)),
    (zoo.Filled, zoo.Filled()),
    (zoo.Box[int], zoo.Box[int](item=1)),
    (zoo.Box[zoo.Dog], zoo.Box[zoo.Dog](item=zoo.Dog(name="a"))),
    (zoo.Names, zoo.Names(["a"])),
    (zoo.Event, zoo.Event(data={"a": [1, None, {"b": 1.5}]})),
    (zoo.Raw, zoo.Raw(raw=b"text")),
    (zoo.Parsed, zoo.Parsed(data="[1,2]")),
    (zoo.Upper, zoo.Upper("abc")),
    (zoo.Extended, zoo.Extended(1, 2)),
    (zoo.Priced, zoo.Priced(NOON, Decimal("1.10"), {"x"})),
    (zoo.Point, zoo.Point(1, 2)),
    (zoo.Row, {"id": 1, "note": "x"}),
    (Any, [1, "a", None, {"b": 2.5}]),
    (Any, nested(190)),
    (dict[str, Any], {"a": {"b": [True, 10**20]}}),
    (date | str, date(2030, 1, 2)),
    (Decimal | str, Decimal("1.5")),
    (str | date, "2030-01-02"),
]

REFUSED: list[tuple[Any, Any]] = [
    (int, None),
    (int, "5"),
    (int, 1.5),
    (int, 10**4400),
    (float, 2**53 + 1),
    (float, Decimal("0.1")),
    (str, None),
    (str, zoo.Html("<b>")),
    (str, "\ud800"),
    (bytes, "text"),
    (Collection[int], [1]),
    (Decimal | str, "1.5"),
    (bytearray, bytearray(b"\xff")),
    (memoryview, memoryview(b"a")),
    (list[int], (1, 2)),
    (list[int], [1, "2"]),
    (list[int], (number for number in range(3))),
    (Iterable[int], (number for number in range(3))),
    (Iterable[int], iter([1])),
    (Sequence[int], (1, 2)),
    (tuple[int, int], zoo.Point(1, 2)),
    (tuple[int, int], [1, 2]),
    (set[int], frozenset({1})),
    (dict, {1: "a", "1": "b"}),
    (dict, {1: "a"}),
    (Any, {1: "a", "1": "b"}),
    (dict[int | str, str], {1: "a", "1": "b"}),
    (dict[str | int, str], {1: "a"}),
    (dict[tuple[int, int], str], {(1, 2): "a"}),
    (dict[Any, str], {(1, 2): "a", "1,2": "b"}),
    (dict[str, int], Counter("aab")),
    (dict[str, int], defaultdict(int)),
    (defaultdict[str, int], defaultdict(lambda: 5)),
    (deque[int], deque([1], maxlen=1)),
    (datetime, NOON.astimezone(BERLIN)),
    (datetime, datetime(2030, 10, 27, 2, 30, fold=1, tzinfo=BERLIN)),
    (datetime, datetime(2030, 10, 27, 2, 30, fold=1)),
    (datetime, date(2030, 1, 2)),
    (date, NOON),
    (time, time(1, 2, tzinfo=BERLIN)),
    (list[datetime], [NOON.astimezone(BERLIN)]),
    (str | datetime, NOON),
    (str | date, date(2030, 1, 2)),
    (date | str, "2030-01-02"),
    (str | Decimal, Decimal("1.5")),
    (str | Path, Path("/a")),
    (str | bytes, b"abc"),
    (Decimal, Decimal("NaN")),
    (Decimal, 0.1),
    (re.Pattern[str], re.compile("a", re.IGNORECASE)),
    (zoo.Status, "paid"),
    (zoo.Even, 5),
    (zoo.Swapped, zoo.Swapped(b=1, a=2)),
    (zoo.Login, zoo.Login(user="a", password="p")),
    (SecretStr, SecretStr("p")),
    (Any, SecretStr("p")),
    (dict[str, Any], {"a": [SecretBytes(b"p")]}),
    (Any, zoo.Login(user="a", password="p")),
    (zoo.Hidden, zoo.Hidden(shown=1, hidden=2)),
    (zoo.HiddenRequired, zoo.HiddenRequired(hidden=2)),
    (Any, zoo.Hidden(shown=1, hidden=2)),
    (zoo.Animal, zoo.Dog(name="a", tricks=["sit"])),
    (zoo.Animal, zoo.Dog(name="a")),
    (list[zoo.Animal], [zoo.Dog(name="a")]),
    (zoo.Box[zoo.Animal], zoo.Box[zoo.Animal](item=zoo.Dog(name="a"))),
    (zoo.Cat | zoo.Bird, zoo.Bird(name="a")),
    (zoo.Cat | zoo.Bird | None, [zoo.Bird(name="a")]),
    (zoo.Base, zoo.Extended(1, 2)),
    (zoo.Base | zoo.Twin, zoo.Twin(1)),
    (zoo.Open, zoo.Open(id=1, when=NOON)),
    (zoo.Event, zoo.Event(data={"a": (1, 2)})),
    (zoo.Doubled, zoo.Doubled(value=2)),
    (zoo.Rounded, zoo.Rounded(value=1.23)),
    (zoo.Lines, zoo.Lines(numbers=[1])),
    (zoo.Raw, zoo.Raw(raw=b"\xff")),
    (zoo.Cents, zoo.Cents(5)),
    (zoo.Animal, {"name": "a"}),
    (zoo.Row, {"id": 1}),
    (zoo.Row, {"id": 1, "note": "x", "more": 1}),
    (zoo.Unknown, zoo.Unknown()),
    (Any, zoo.Unknown()),
    (Any, (number for number in range(3))),
    (Any, nested(210)),
    (list, nested(210)),
    (Any, 10**4400),
    (Any, [10**4400]),
    (object, {"a": zoo.Login(user="a", password="p")}),
]


def changed_cached() -> zoo.Cached:
    value = zoo.Cached(id=1)
    value._seen = 5
    return value


def changed_counted() -> zoo.Counted:
    value = zoo.Counted(1)
    value.calls = 5
    return value


REFUSED += [(zoo.Cached, changed_cached()), (zoo.Counted, changed_counted())]


def same(value: Any, other: Any) -> bool:
    """Written for the test alone: as strict as a user could be."""
    if type(value) is not type(other):
        return False
    if isinstance(value, dict):
        return list(value) == list(other) and all(
            same(key, again) and same(value[key], other[again]) for key, again in zip(value, other, strict=True)
        )
    if isinstance(value, (list, tuple, deque)):
        return len(value) == len(other) and all(same(*pair) for pair in zip(value, other, strict=True))
    if isinstance(value, BaseModel):
        return value == other and same(dict(value), dict(other))
    if dataclasses.is_dataclass(value):
        return value == other and same(vars(value), vars(other))
    if isinstance(value, float) and math.isnan(value):
        return math.isnan(other)
    if isinstance(value, datetime):
        return value == other and value.utcoffset() == other.utcoffset()
    return bool(value == other) and (isinstance(value, (set, frozenset)) or repr(value) == repr(other))


def named(pair: tuple[Any, Any]) -> str:
    return re.sub(r"tests\.support\.value_zoo\.| at 0x\w+", "", f"{pair[0]}-{type(pair[1]).__name__}")


@pytest.mark.feature("F155")
def test_there_are_enough_pairs() -> None:
    assert len(EQUAL) + len(REFUSED) > 150


@pytest.mark.feature("F155")
@pytest.mark.parametrize("pair", EQUAL, ids=named)
def test_a_value_of_its_type_comes_back_equal(pair: tuple[Any, Any]) -> None:
    hint, value = pair
    assert same(codec.round_trip(value, hint, "the result"), value)


@pytest.mark.feature("F155")
@pytest.mark.parametrize("pair", REFUSED, ids=named)
def test_a_value_that_would_change_is_refused_with_a_sentence(pair: tuple[Any, Any]) -> None:
    hint, value = pair
    with pytest.raises(PayloadNotSerializable, match="the result") as caught:
        codec.encode(value, hint, what="the result")
    assert caught.value.reason
