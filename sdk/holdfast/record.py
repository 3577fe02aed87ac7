"""`record`: a dataclass for values that are made on the path of every step."""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """A dataclass with slots, hashed by its fields, that is never changed: the type checker sees to it.

    At run time nothing does. What `frozen=True` does there makes each field cost 0.18 us instead of 0.02 when a
    record is made (CPython 3.11), and a step makes ten records with about 70 fields.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)
