"""Types and functions of a user, for the codec tests. No postponed annotations, so that they are what they are."""

import dataclasses
from datetime import timedelta
from decimal import Decimal
from enum import Enum, StrEnum

from pydantic import BaseModel, ConfigDict


class Colour(Enum):
    RED = 1
    BLUE = "blue"


class Size(StrEnum):
    SMALL = "small"


@dataclasses.dataclass
class Line:
    sku: str
    blob: bytes = b""
    next: "Line | None" = None


@dataclasses.dataclass(frozen=True)
class Money:
    amount: Decimal
    currency: str = "EUR"


class User(BaseModel):
    id: int
    name: str
    tags: frozenset[str] = frozenset()


class Reading(BaseModel):
    value: float | None
    took: timedelta = timedelta(0)


class ExactReading(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="constants", ser_json_bytes="base64", val_json_bytes="base64")
    value: float
    raw: bytes = b""


class RawReading(BaseModel):
    raw: bytes


class OutOfStock(Exception):
    """Words its own message, as many do."""

    def __init__(self, sku: str, *, left: int = 0) -> None:
        super().__init__(f"{sku} is out of stock")
        self.sku = sku


class Declined(Exception):
    """Keeps what it was given."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code


class Unfriendly(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text for you")
