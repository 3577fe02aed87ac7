"""Sets of futures that every replay iterates in the same order."""

from collections.abc import Iterable, Iterator
from typing import Any

from holdfast.workflow.tasks import WorkflowFuture, WorkflowTask


class OrderedSet(set[Any]):
    """A set that is iterated in the order in which it was filled, for futures that hash by address."""

    def __init__(self, members: Iterable[Any]) -> None:
        self._order = dict.fromkeys(members)
        super().__init__(self._order)

    def __iter__(self) -> Iterator[Any]:
        return iter([one for one in self._order if one in self])

    def add(self, element: Any) -> None:
        self._order.setdefault(element)
        super().add(element)

    def update(self, *others: Iterable[Any]) -> None:
        for other in others:
            for one in other:
                self.add(one)

    def pop(self) -> Any:
        for one in self:
            self.remove(one)
            return one
        raise KeyError("pop from an empty set")

    def copy(self) -> "OrderedSet":
        return OrderedSet(self)

    def __or__(self, other: Any) -> Any:
        return OrderedSet([*self, *other])

    def __ior__(self, other: Any) -> Any:
        self.update(other)
        return self

    def __sub__(self, other: Any) -> Any:
        return OrderedSet(one for one in self if one not in other)

    def __and__(self, other: Any) -> Any:
        return OrderedSet(one for one in self if one in other)

    def union(self, *others: Iterable[Any]) -> "OrderedSet":
        return OrderedSet([*self, *(one for other in others for one in other)])

    def difference(self, *others: Iterable[Any]) -> "OrderedSet":
        left_out = [set(other) for other in others]
        return OrderedSet(one for one in self if not any(one in other for other in left_out))


def ordered_set(futures: Iterable[Any]) -> set[Any]:
    """A set that is iterated in the order of these futures, or in that of their creation."""
    members = list(futures)
    if all(isinstance(one, (WorkflowFuture, WorkflowTask)) for one in members):
        return set(members)
    return OrderedSet(members)
