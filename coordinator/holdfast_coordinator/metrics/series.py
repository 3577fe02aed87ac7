"""The label sets of one metric: kept, so that a known one costs a look-up, and bounded in number."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from .table import LABEL_LENGTH_MAX, OTHER, SERIES_MAX, USER_LABELS

Child = TypeVar("Child")


class Series(Generic[Child]):
    """The children of a metric by their label values. `make` makes one.

    Users choose names, and code can make them up without end; a monitoring system keeps every label set for as long
    as it keeps anything. So from SERIES_MAX on new names count together, and what a label can say by itself (an
    outcome, a status) stays.
    """

    def __init__(self, labels: Sequence[str], make: Callable[[tuple[str, ...]], Child]) -> None:
        self._chosen_by_users = tuple(label in USER_LABELS for label in labels)
        self._make = make
        self._children: dict[tuple[str, ...], Child] = {}
        self._made: dict[tuple[str, ...], Child] = {}

    def of(self, *values: str) -> Child:
        """The child of these values, in the order of the labels."""
        child = self._children.get(values)
        return child if child is not None else self._remember(values)

    def bounded(self, values: tuple[str, ...]) -> tuple[str, ...]:
        """The label values under which these are counted."""
        cut = tuple(value[:LABEL_LENGTH_MAX] for value in values)
        if cut in self._made or len(self._made) < SERIES_MAX or not any(self._chosen_by_users):
            return cut
        chosen = zip(cut, self._chosen_by_users, strict=True)
        return tuple(OTHER if by_users else value for value, by_users in chosen)

    def _remember(self, values: tuple[str, ...]) -> Child:
        bounded = self.bounded(values)
        child = self._made.get(bounded)
        if child is None:
            child = self._made[bounded] = self._make(bounded)
        if len(self._children) < SERIES_MAX:  # names without end must not fill this dictionary either
            self._children[values] = child
        return child
