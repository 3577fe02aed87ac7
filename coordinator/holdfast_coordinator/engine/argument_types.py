"""Whether the arguments of a start fit the types that a worker has registered, where these are Python's own. Pure.

They are read here as a worker reads them, by the same code, so that what is refused would have failed there.
"""

from collections.abc import Iterable
from functools import lru_cache

from holdfast.errors import ArgumentsRejected
from holdfast.hints.refusals import HopelessHint, UnknownYet, problem_of
from holdfast.hints.type_texts import hint_of
from holdfast.hints.value_types import ValueType, value_type
from holdfast_coordinator.domain.hashed_calls import Signature

CHECKED_BYTES_MAX = 16_384
"""Larger arguments are left to the worker: reading them takes the time of everybody else's starts."""
TYPES_CACHED = 1_024


@lru_cache(maxsize=TYPES_CACHED)
def type_of_text(text: str) -> ValueType:
    """The type that a worker has registered. Raises ValueError when it is none of Python's own."""
    try:
        return value_type(hint_of(text))
    except (HopelessHint, UnknownYet) as error:
        raise ValueError(f"{text[:100]!r}: {error}") from error


def check_types(workflow: str, signature: Signature, arguments: Iterable[tuple[str, bytes | None]]) -> None:
    """Raises ArgumentsRejected naming the first argument that is not of its type.

    arguments: the parameter and the JSON of each; None for what cannot be looked into.
    """
    types: dict[str, str] = {one["name"]: one["type"] for one in signature["parameters"] if "type" in one}
    for name, data in arguments:
        text = types.get(name)
        if text is None or data is None or len(data) > CHECKED_BYTES_MAX:
            continue
        try:
            known = type_of_text(text)
        except ValueError:
            continue  # registered through a replica of another release: the worker reads it
        try:
            known.decode(data)
        except ValueError as error:
            raise ArgumentsRejected(workflow, parameter=name, reason=f"does not fit: {problem_of(error)}") from error
