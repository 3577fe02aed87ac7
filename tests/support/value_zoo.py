"""Classes of users whose values do not come back by themselves, for the table of pairs of type and value."""

import dataclasses
import threading
import typing
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, TypeVar
from uuid import UUID, uuid4

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    Json,
    PrivateAttr,
    RootModel,
    SecretStr,
    computed_field,
    field_serializer,
    model_validator,
)
from pydantic.alias_generators import to_camel
from typing_extensions import TypedDict

T = TypeVar("T")


class Colour(Enum):
    RED = 1
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1


class Status(StrEnum):
    PAID = "paid"


class Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)
    first_name: str
    last_name: str = ""


class Aliased(BaseModel):
    one: int = Field(validation_alias="the_one")
    two: int = Field(serialization_alias="TheTwo")
    three: int = Field(alias="3", default=3)
    four: int = Field(validation_alias=AliasChoices("four", "vier"), default=4)


class ByAlias(BaseModel):
    model_config = ConfigDict(serialize_by_alias=True)
    amount: int = Field(alias="Amount")


class Swapped(BaseModel):
    a: int = Field(alias="b")
    b: int = Field(alias="a")


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    width: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def area(self) -> int:
        return self.width**2


class Login(BaseModel):
    user: str
    password: SecretStr = SecretStr("")


class Hidden(BaseModel):
    shown: int
    hidden: int = Field(default=0, exclude=True)


class HiddenRequired(BaseModel):
    hidden: int = Field(exclude=True)


class Animal(BaseModel):
    name: str


class Dog(Animal):
    tricks: list[str] = []


class Cat(BaseModel):
    name: str


class Bird(BaseModel):
    name: str


class TaggedCat(BaseModel):
    kind: Literal["cat"] = "cat"
    name: str


class TaggedBird(BaseModel):
    kind: Literal["bird"] = "bird"
    name: str


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    id: int


class Cached(BaseModel):
    id: int
    _seen: int = PrivateAttr(default=0)


class Filled(BaseModel):
    id: UUID = Field(default_factory=uuid4)


class Doubled(BaseModel):
    value: int

    @model_validator(mode="after")
    def double(self) -> "Doubled":
        self.__dict__["value"] *= 2
        return self


class Rounded(BaseModel):
    value: float

    @field_serializer("value")
    def short(self, value: float) -> float:
        return round(value, 1)


class Box(BaseModel, Generic[T]):
    item: T


class Names(RootModel[list[str]]):
    pass


class Lines(BaseModel):
    numbers: Iterable[int]


class Event(BaseModel):
    data: dict[str, Any]


class Raw(BaseModel):
    raw: bytes


class Parsed(BaseModel):
    data: Json[list[int]]


@dataclasses.dataclass
class Cents:
    amount: int

    def __post_init__(self) -> None:
        self.amount *= 100


@dataclasses.dataclass
class Upper:
    text: str
    length: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.text = self.text.upper()
        self.length = len(self.text)


@dataclasses.dataclass
class Counted:
    given: int
    calls: int = dataclasses.field(init=False, default=0)


@dataclasses.dataclass(frozen=True)
class Base:
    a: int


@dataclasses.dataclass(frozen=True)
class Extended(Base):
    b: int = 0


@dataclasses.dataclass(frozen=True)
class Twin:
    a: int


@dataclasses.dataclass
class Priced:
    at: datetime
    price: Decimal
    tags: set[str] = dataclasses.field(default_factory=set)


class Point(NamedTuple):
    x: int
    y: int


class Row(TypedDict):
    id: int
    note: str


class OldRow(typing.TypedDict):
    id: int


class Unknown:
    pass


class Html(str):
    pass


UserId = NewType("UserId", int)
Positive = Annotated[int, Field(gt=0)]
Even = Annotated[int, AfterValidator(lambda value: value - value % 2)]
Lock = threading.Lock
