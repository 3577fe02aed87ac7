"""Which type of a value fits which other one, as a type checker sees it, and how results go into parameters."""

import dataclasses
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from numbers import Number
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NoReturn,
    NotRequired,
    Optional,
    Protocol,
    TypeVar,
    Union,
)

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypeAliasType, TypedDict

from holdfast import App, pipeline
from holdfast.pipelines import IncompatibleSteps
from holdfast.pipelines.assignable import fits

T = TypeVar("T")
Numeric = TypeVar("Numeric", int, float)
Textual = TypeVar("Textual", bound=str)
UserId = NewType("UserId", int)
AdminId = NewType("AdminId", UserId)
Positive = Annotated[int, Field(gt=0)]
Row = TypeAliasType("Row", dict[str, int])
Pairs = TypeAliasType("Pairs", list[tuple[T, T]], type_params=(T,))


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Animal: ...


class Cat(Animal):
    name: str = ""


class User(BaseModel):
    name: str


@dataclasses.dataclass
class Order:
    id: str
    amount: Decimal


class Box(Generic[T]): ...


class IntBox(Box[int]): ...


class Names(list[str]): ...


class Point(NamedTuple):
    x: int
    y: str


class Postponed(NamedTuple):
    x: "int"
    y: "str"


class Address(TypedDict):
    street: str
    number: int


class LongAddress(Address):
    country: str


class ShortAddress(TypedDict):
    street: str
    number: NotRequired[int]


class HasId(Protocol):
    id: str


class Speaks(Protocol):
    def speak(self) -> str: ...


class Dog(Animal):
    def speak(self) -> str:
        return "woof"


FIT = [
    (int, int),
    (bool, int),
    (int, float),
    (float, complex),
    (datetime, date),
    (Cat, Animal),
    (int, Any),
    (Any, int),
    (int, object),
    (None, None),
    (int, int | None),
    (None, Optional[str]),  # noqa: UP045
    (int | None, int | str | None),
    (bool | int, int),
    (Union[int, str], Union[str, bytes, int]),  # noqa: UP007
    (list[dict], list[dict]),
    (list[dict[str, Any]], list[dict]),
    (list[dict], list[dict[str, int]]),
    (list[bool], list[int]),
    (list[Cat], Sequence[Animal]),
    (list[int], list),
    (list, list[int]),
    (Names, list[str]),
    (Names, Iterable[str]),
    (str, Sequence[str]),
    (dict[str, bool], Mapping[str, int]),
    (dict[str, int], Iterable[str]),
    (defaultdict[str, int], dict[str, int]),
    (OrderedDict[str, int], Mapping[str, float]),
    (Counter[str], Mapping[str, int]),
    (set[int], AbstractSet[int]),
    (frozenset[int], Collection[int]),
    (tuple[int, str], tuple[int, str]),
    (tuple[int, bool], tuple[int, ...]),
    (tuple[int, ...], tuple[float, ...]),
    (tuple, tuple[int, str]),
    (tuple[int, str], Sequence[int | str]),
    (Point, tuple[int, str]),
    (Point, Point),
    (Postponed, tuple[int, str]),
    (Box[bool], Box[int]),
    (IntBox, Box[int]),
    (Box, Box[int]),
    (UserId, int),
    (UserId, UserId),
    (AdminId, UserId),
    (AdminId, int),
    (Positive, int),
    (int, Positive),
    (Row, dict[str, int]),
    (dict[str, int], Row),
    (list[tuple[int, int]], Pairs[int]),
    (Literal["a"], str),
    (Literal["a"], Literal["a", "b"]),
    (bool, Literal[True, False]),
    (Colour, Literal[Colour.RED, Colour.BLUE]),
    (Literal[1, "x"], int | str),
    (int, T),
    (list[int], list[T]),
    (int, Numeric),
    (str, Textual),
    (Textual, str),
    (LongAddress, Address),
    (Address, ShortAddress),
    (Address, Mapping[str, object]),
    (Address, dict),
    (dict[str, Any], Address),
    (dict, Address),
    (Order, HasId),
    (Dog, Speaks),
    (Decimal, Number),
    (NoReturn, int),
    ("NotKnownHere", int),
]

MISFIT = [
    (str, int),
    (int, str),
    (float, int),
    (int, bool),
    (date, datetime),
    (Animal, Cat),
    (None, int),
    (int, None),
    (int | None, int),
    (int | str, int),
    (list[int], list[str]),
    (list[int], int),
    (list[int], set[int]),
    (Sequence[int], list[int]),
    (Names, list[int]),
    (str, list[str]),
    (str, Sequence[int]),
    (dict[str, int], dict[str, str]),
    (dict[str, int], dict[int, int]),
    (dict[str, int], Iterable[int]),
    (Counter[str], Mapping[int, int]),
    (tuple[int, str], tuple[str, int]),
    (tuple[int, str], tuple[int]),
    (tuple[int, str], tuple[int, ...]),
    (tuple[int, ...], tuple[int, int]),
    (tuple[int, str], list[int]),
    (Point, tuple[str, int]),
    (Postponed, tuple[str, int]),
    (Box[str], Box[int]),
    (IntBox, Box[str]),
    (int, UserId),
    (UserId, AdminId),
    (UserId, str),
    (Annotated[str, "x"], int),
    (Row, dict[str, str]),
    (Pairs[int], list[tuple[str, str]]),
    (Literal["a"], int),
    (Literal["a", "c"], Literal["a", "b"]),
    (Literal[1], Literal[True]),
    (str, Literal["a"]),
    (bool, Literal[True]),
    (Colour, Literal[Colour.RED]),
    (str, Numeric),
    (int, Textual),
    (Textual, int),
    (ShortAddress, Address),
    (Address, LongAddress),
    (Address, dict[str, int]),
    (dict[str, str], Address),
    (dict[str, Any], User),
    (Order, User),
    (Cat, HasId),
    (Cat, Speaks),
    (int, list[T]),
]


@pytest.mark.feature("F8")
@pytest.mark.parametrize(("given", "wanted"), FIT, ids=str)
def test_a_type_fits(given: Any, wanted: Any) -> None:
    assert fits(given, wanted)


@pytest.mark.feature("F7", "F8")
@pytest.mark.parametrize(("given", "wanted"), MISFIT, ids=str)
def test_a_type_does_not_fit(given: Any, wanted: Any) -> None:
    assert not fits(given, wanted)


# Results and parameters


def returns_nothing() -> None: ...
def returns_int() -> int: ...  # type: ignore[empty-body]
def returns_bool() -> bool: ...  # type: ignore[empty-body]
def returns_str() -> str: ...  # type: ignore[empty-body]
def returns_either() -> int | None: ...
def returns_pair() -> tuple[int, str]: ...  # type: ignore[empty-body]
def returns_other_pair() -> tuple[str, int]: ...  # type: ignore[empty-body]
def returns_point() -> Point: ...  # type: ignore[empty-body]
def returns_ints() -> tuple[int, ...]: ...  # type: ignore[empty-body]
def returns_one() -> tuple[int]: ...  # type: ignore[empty-body]
def returns_pair_or_other() -> tuple[int, str] | tuple[int, int]: ...  # type: ignore[empty-body]
def returns_pair_or_nothing() -> tuple[int, str] | None: ...
def returns_dicts() -> list[dict[str, Any]]: ...  # type: ignore[empty-body]
def untyped(): ...  # type: ignore[no-untyped-def]
def identity(value: T) -> T: ...  # type: ignore[empty-body]
def as_list(value: T) -> list[T]: ...  # type: ignore[empty-body]


def takes_nothing() -> int: ...  # type: ignore[empty-body]
def takes_int(x: int) -> int: ...  # type: ignore[empty-body]
def takes_str(x: str) -> str: ...  # type: ignore[empty-body]
def takes_maybe(x: int | None) -> int: ...  # type: ignore[empty-body]
def takes_with_default(x: int, y: int = 3) -> int: ...  # type: ignore[empty-body]
def takes_only_defaults(x: int = 1, y: str = "") -> int: ...  # type: ignore[empty-body]
def takes_two(x: int, y: str) -> int: ...  # type: ignore[empty-body]
def takes_three(x: int, y: int, z: int) -> int: ...  # type: ignore[empty-body]
def takes_pair(pair: tuple[int, str]) -> int: ...  # type: ignore[empty-body]
def takes_pair_and_more(pair: tuple[int, str], more: bool = False) -> int: ...  # type: ignore[empty-body]
def takes_many(*numbers: int) -> int: ...  # type: ignore[empty-body]
def takes_dicts(rows: list[dict[str, Any]]) -> int: ...  # type: ignore[empty-body]
def takes_strs(rows: list[str]) -> int: ...  # type: ignore[empty-body]
def takes_anything(x) -> int: ...  # type: ignore[no-untyped-def, empty-body]
def takes_by_name(*, x: int) -> int: ...  # type: ignore[empty-body]
def takes_by_name_too(x: int, *, strict: bool = True) -> int: ...  # type: ignore[empty-body]


@pytest.mark.feature("F8")
@pytest.mark.parametrize(
    "steps",
    [
        (returns_nothing, takes_nothing),
        (returns_nothing, takes_only_defaults),
        (returns_nothing, takes_maybe),
        (returns_nothing, takes_anything),
        (returns_int, takes_maybe),
        (returns_either, takes_maybe),
        (returns_int, takes_with_default),
        (returns_int, takes_many),
        (returns_int, takes_by_name_too),
        (returns_bool, takes_int),
        (returns_pair, takes_two),
        (returns_pair, takes_only_defaults),
        (returns_pair, takes_pair),
        (returns_pair, takes_pair_and_more),
        (returns_pair, takes_anything),
        (returns_point, takes_two),
        (returns_one, takes_int),
        (returns_one, takes_with_default),
        (returns_ints, takes_three),
        (returns_ints, takes_many),
        (returns_dicts, takes_dicts),
        (untyped, takes_int),
        (untyped, takes_two),
        (untyped, takes_nothing),
        (returns_int, identity, takes_int),
        (returns_pair, as_list, takes_anything),
        (returns_str, identity, identity, takes_str),
    ],
    ids=lambda steps: "-".join(one.__name__ for one in steps),
)
def test_neighbours_that_fit_are_taken(steps: tuple[Any, ...]) -> None:
    assert [step.name for step in pipeline("fits", steps, app=App("fits")).steps] == [one.__name__ for one in steps]


@pytest.mark.feature("F7", "F8")
@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ((returns_int, takes_str), "step returns_int returns int, and step takes_str takes str as 'x'"),
        ((returns_str, takes_int), "step returns_str returns str, and step takes_int takes int as 'x'"),
        ((returns_either, takes_int), r"returns int | None, and step takes_int takes int as 'x'"),
        ((returns_nothing, takes_int), "step returns_nothing returns nothing, and step takes_int takes int as 'x'"),
        ((returns_nothing, takes_two), "returns nothing, and step takes_two takes 2 values ('x', 'y')"),
        ((returns_int, takes_nothing), "returns int, and step takes_nothing takes nothing"),
        ((returns_int, takes_two), "returns int, and step takes_two takes 2 values ('x', 'y')"),
        ((returns_pair, takes_int), "returns tuple[int, str], and step takes_int takes int as 'x'"),
        ((returns_other_pair, takes_two), "takes_two takes int as 'x', which gets item 1"),
        ((returns_pair, takes_three), "takes_three takes 3 values ('x', 'y', 'z')"),
        ((returns_pair, takes_with_default), "takes int as 'y', which gets item 2"),
        ((returns_pair, takes_many), "takes int as 'number 2', which gets item 2"),
        ((returns_ints, takes_two), "takes str as 'y', which gets item 2"),
        ((returns_ints, takes_int), "takes int as 'x'"),
        ((returns_pair_or_other, takes_two), "takes str as 'y', which gets item 2"),
        ((returns_pair_or_nothing, takes_two), "takes 2 values"),
        ((returns_dicts, takes_strs), "takes list[str] as 'rows'"),
        ((returns_int, takes_by_name), "takes 'x' by name only, and a pipeline gives values by position"),
        ((returns_int, identity, takes_str), "step identity returns int, and step takes_str takes str as 'x'"),
        ((returns_int, as_list, takes_strs), "step as_list returns list[int], and step takes_strs takes list[str]"),
    ],
    ids=lambda given: "-".join(one.__name__ for one in given) if isinstance(given, tuple) else "",
)
def test_neighbours_that_do_not_fit_are_refused_by_name_and_nothing_is_registered(
    steps: tuple[Any, ...], problem: str
) -> None:
    app = App("misfits")
    with pytest.raises(TypeError, match="Incompatible types in pipeline 'broken'") as caught:
        pipeline("broken", steps, app=app)
    assert problem in str(caught.value)
    assert isinstance(caught.value, IncompatibleSteps)
    assert (caught.value.first, caught.value.second) == (steps[-2].__name__, steps[-1].__name__)
    assert dict(app.steps) == {}
    assert dict(app.workflows) == {}
