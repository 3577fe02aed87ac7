"""What the text of a type accepts: never less than the type itself, and not more than it can help."""

import dataclasses
import json
import uuid
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Literal, NotRequired

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import (
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    RootModel,
    field_validator,
    model_validator,
)
from typing_extensions import TypedDict

from holdfast.hints.schemas import TEXT_MAX, PortableType
from holdfast.hints.value_types import value_type


class Approval(BaseModel):
    approved: bool
    by: str = "nobody"


class Color(StrEnum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Lenient(Enum):
    YES = "yes"

    @classmethod
    def _missing_(cls, value: object) -> "Lenient":
        return cls.YES


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    amount: Annotated[int, Field(ge=0, le=10)]
    code: Annotated[str, Field(pattern="^[a-z]+$", max_length=3)] = "a"


class Aliased(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    who: int = Field(alias="by")


class Path(BaseModel):
    who: int = Field(validation_alias=AliasPath("a", "b"))


class Guarded(BaseModel):
    when: Annotated[int, BeforeValidator(lambda value: 1)]
    small: int

    @field_validator("small")
    @classmethod
    def is_small(cls, value: int) -> int:
        if value > 5:
            raise ValueError("too large")
        return value


class Rewritten(BaseModel):
    n: int

    @model_validator(mode="before")
    @classmethod
    def rewrite(cls, value: Any) -> Any:
        return {"n": 1}


class Stripped(BaseModel):
    model_config = ConfigDict(str_strip_whitespace=True)
    name: Annotated[str, Field(max_length=1)]


class Raw(BaseModel):
    data: bytes


class Numbers(RootModel[list[int]]):
    pass


class Tree(BaseModel):
    n: int
    children: list["Tree"] = []


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0
    label: str | None = None


class Options(TypedDict):
    a: int
    b: NotRequired[str]


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]

TYPES: list[Any] = [
    bool,
    int,
    str,
    float,
    bytes,
    type(None),
    Decimal,
    uuid.UUID,
    date,
    datetime,
    timedelta,
    list[int],
    set[int],
    frozenset[str],
    tuple[int, str],
    tuple[int, ...],
    dict[str, int],
    dict[int, bool],
    int | None,
    int | str,
    Any,
    object,
    Literal["a", 1, None],
    Color,
    Level,
    Lenient,
    Approval,
    Strict,
    Aliased,
    Path,
    Guarded,
    Rewritten,
    Stripped,
    Raw,
    Numbers,
    Tree,
    Point,
    Options,
    Pet,
    list[Approval],
    dict[str, Point | None],
    Annotated[int, Field(gt=3)],
    Annotated[list[int], Field(max_length=2)],
    Annotated[set[int], Field(max_length=1)],
    Approval | None,
]

SAMPLES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    4,
    11,
    1.5,
    -1,
    "",
    "a",
    "1",
    "yes",
    "red",
    "maybe",
    " a ",
    "2026-01-01",
    "2026-01-01T00:00:00Z",
    "P1D",
    "abcd",
    "3.5",
    [],
    [1],
    ["1"],
    [1, 1],
    [1, "a"],
    [1, 2, 3],
    {},
    {"1": 1},
    {"a": 1},
    {"a": "x", "b": "y"},
    {"approved": True},
    {"approved": "maybe"},
    {"approved": "yes", "by": 3},
    {"amount": 3},
    {"amount": 30},
    {"amount": 3, "more": 1},
    {"amount": 1, "code": "A"},
    {"by": 1},
    {"who": 1},
    {"a": {"b": 1}},
    {"when": "x", "small": 2},
    {"when": 1, "small": 9},
    {"n": "x"},
    {"name": " a "},
    {"data": "not base64!"},
    {"n": 1, "children": [{"n": 2}]},
    {"n": 1, "children": [{"n": "x"}]},
    {"x": 1},
    {"x": "a"},
    {"x": 1, "label": 3},
    {"kind": "cat", "lives": 9},
    {"kind": "dog"},
    {"kind": "fish"},
    {"kind": "cat"},
    [{"approved": 1}],
    [{"approved": 3}],
    {"p": {"x": 1}},
    {"p": None},
    "12345678-1234-5678-1234-567812345678",
]


def fits(hint: Any, data: bytes) -> bool:
    try:
        value_type(hint).decode(data)
    except Exception:  # noqa: BLE001 - validators of the user can raise anything
        return False
    return True


def portable(hint: Any) -> PortableType | None:
    text = value_type(hint).schema_text()
    return PortableType(text) if text else None


@pytest.mark.feature("F96")
@pytest.mark.parametrize("hint", TYPES, ids=str)
def test_nothing_is_refused_that_the_code_would_take(hint: Any) -> None:
    found = portable(hint)
    for sample in SAMPLES:
        data = json.dumps(sample).encode()
        if fits(hint, data):
            assert found is None or found.problem(data) is None, (sample, found.problem(data))


NAMES = ["a", "b", "x", "y", "n", "by", "approved", "amount", "kind", "children"]
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from([one for one in SAMPLES if isinstance(one, str)]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["a", "b", "x", "y", "n", "by", "approved", "amount", "kind", "children"]), inner
        )
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(json_values, st.sampled_from(TYPES))
def test_nothing_is_refused_that_the_code_would_take_whatever_it_is(value: Any, hint: Any) -> None:
    data = json.dumps(value).encode()
    found = portable(hint)
    if fits(hint, data):
        assert found is None or found.problem(data) is None


@pytest.mark.parametrize(
    ("hint", "value", "problem"),
    [
        (Approval, {"approved": "maybe"}, ("approved", "input should be a valid boolean, unable to interpret input")),
        (Approval, {}, ("approved", "field required")),
        (Strict, {"amount": 11}, ("amount", "input should be less than or equal to 10")),
        (Strict, {"amount": 1, "more": 1}, ("more", "extra inputs are not permitted")),
        (Strict, {"amount": 1, "code": "A"}, ("code", "string should match pattern '^[a-z]+$'")),
        (list[Approval], [{"approved": True}, {"approved": 3}], ("1.approved", "input should be a valid boolean")),
        (Tree, {"n": 1, "children": [{"n": "x"}]}, ("children.0.n", "input should be a valid integer")),
        (Point, {"x": "a"}, ("x", "input should be a valid number")),
        (Options, {"b": "x"}, ("a", "field required")),
        (Color, "blue", ("", "input should be 'red'")),
        (Guarded, {"when": "x"}, ("small", "field required")),
        (Aliased, {"whom": 1}, ("by", "field required")),
        (type(None), 1, ("", "input should be null")),
    ],
    ids=str,
)
def test_what_is_data_is_checked_and_the_problem_says_where(hint: Any, value: Any, problem: tuple[str, str]) -> None:
    found = portable(hint)
    assert found is not None
    where, text = found.problem(json.dumps(value).encode()) or ("", "")
    assert where == problem[0]
    assert text.startswith(problem[1])


def test_what_is_no_json_is_a_problem() -> None:
    found = portable(Approval)
    assert found is not None
    assert found.problem(b"{")


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (Approval, "{approved: bool, by?: str}"),
        (list[Point | None], "list[{x: float, y?: float, label?: str | None} | None]"),
        (Color, "'red'"),
        (Aliased, "{by: int}"),
        (Tree, "{n: int, children?: list[{n: ..., children?: ...}]}"),
    ],
    ids=str,
)
def test_a_type_is_said_in_words(hint: Any, words: str) -> None:
    found = portable(hint)
    assert found is not None
    assert found.words == words


@pytest.mark.parametrize("hint", [Any, object, Rewritten, Lenient, Path, Stripped, Any | None], ids=str)
def test_what_only_code_can_judge_has_no_text(hint: Any) -> None:
    assert value_type(hint).schema_text() == ""


def test_a_type_has_the_same_text_in_every_process() -> None:
    """It is what the type is known by: addresses of classes would make each worker's another one."""
    assert value_type(Tree).schema_text() == (
        '{"type":"definitions","schema":{"type":"definition-ref","schema_ref":"r0"},"definitions":[{"type":"typed-dict",'
        '"fields":{"n":{"type":"typed-dict-field","schema":{"type":"int"},"required":true},"children":{"type":'
        '"typed-dict-field","schema":{"type":"list","items_schema":{"type":"definition-ref","schema_ref":"r0"}},'
        '"required":false}},"ref":"r0"}]}'
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        '"any"',
        "null",
        "[" * 10_000,
        '{"type":"str","pattern":"("}',
        '{"type":"list","items_schema":3}',
        '{"type":"typed-dict"}',
        '{"type":"typed-dict","fields":3}',
        '{"type":"typed-dict","fields":{"a":3}}',
        '{"type":"union","choices":3}',
        '{"type":"definition-ref","schema_ref":"r0"}',
        '{"type":"definitions"}',
        '{"type":"tuple","items_schema":[],"variadic_item_index":7}',
        '{"type":"str"}' + " " * TEXT_MAX,
        '{"type":"int","ge":"a"}',
        '{"type":"enum","members":3}',
        '{"type":"chain","steps":[]}',
    ],
    ids=lambda text: text[:40],
)
def test_a_text_that_no_type_has_is_refused_or_harmless(text: str) -> None:
    try:
        found = PortableType(text)
    except ValueError:
        return
    assert found.problem(b"1") in (None, ("", "x")) or found.words


def test_a_text_calls_nothing() -> None:
    text = '{"type":"function-plain","function":{"type":"no-info","function":"os.system"}}'
    assert PortableType(text).problem(b'"x"') is None
