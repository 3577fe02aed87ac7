"""What a module of the core says of a command: what it must see, what is decided, how large it is, which keys it needs.

Each module that decides exports the rules of its commands; `batch` puts them together.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from .rows import KeyRow
from .snapshot import Reads
from .workspace import Workspace

Asked = TypeVar("Asked")


def _no_bytes(_: object) -> int:
    return 0


def _no_keys(_: object) -> Sequence[KeyRow]:
    return ()


@dataclass(slots=True, frozen=True)
class Rule(Generic[Asked]):
    """Everything about one kind of command.

    reads: adds what it must see to what its batch reads. decide: does it, and answers. size: the bytes of what can be
    large in it. keys: those that it reserves, in key order.
    """

    reads: Callable[[Reads, Asked], None]
    decide: Callable[[Workspace, Asked], Any]
    size: Callable[[Asked], int] = _no_bytes
    keys: Callable[[Asked], Sequence[KeyRow]] = _no_keys


Rules = Mapping[type, Rule[Any]]
