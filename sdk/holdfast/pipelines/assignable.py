"""Whether a value of one type hint is one of another, as a type checker sees it. Pure.

Two differences. What nobody has said, as of a parameter without a hint, fits everything. And containers need not be
invariant: every step gets a copy of its own, so list[bool] is a list[int].
"""

import inspect
import sys
import typing
from collections.abc import Iterable
from enum import Enum
from typing import Any, Literal, Never, NoReturn, TypeVar, get_args, get_origin

from holdfast.pipelines.hint_forms import (
    VALUES,
    arguments_as,
    choices,
    hints_of,
    is_new_type,
    item_of_any_tuple,
    items_of_tuple,
    plain,
    substituted,
)

_PROMOTED = {float: (int,), complex: (int, float)}
"""What else fits, by the rules of type checkers."""


_AS_TEXT: dict[str, Any] = {"format": 4} if sys.version_info >= (3, 14) else {}
"""From Python 3.14 on annotations are evaluated when they are asked for, unless it is for their text."""


class Bindings(dict[Any, Any]):
    """What the type variables of one step stand for in one place of a pipeline, as its arguments say."""

    def bind(self, variable: Any, given: Any) -> None:
        self[variable] = typing.Union[self[variable], given] if variable in self else given  # noqa: UP007

    def result(self, hint: Any) -> Any:
        """The hint of a result with what is known of its variables."""
        return substituted(hint, self)


def fits(given: Any, wanted: Any, bound: Bindings | None = None) -> bool:
    """True when a value that is `given` may go where `wanted` is said. bound: gets what type variables stand for."""
    bound = Bindings() if bound is None else bound
    given, wanted = plain(given), plain(wanted)
    if isinstance(wanted, TypeVar):
        if not _fits_variable(given, wanted):
            return False
        bound.bind(wanted, given)
        return True
    if wanted is Any or wanted is object or given is Any or given in (Never, NoReturn):
        return True
    if isinstance(given, TypeVar):
        return _variable_fits(given, wanted, bound)
    members = choices(given)
    if members is not None:
        return all(fits(one, wanted, bound) for one in members)
    if get_origin(given) is Literal:
        return all(_value_fits(one, wanted, bound) for one in get_args(given))
    members = choices(wanted)
    if members is not None:
        # Variables last: whatever fits another member says nothing of them.
        return any(fits(given, one, bound) for one in sorted(members, key=lambda one: isinstance(one, TypeVar)))
    if get_origin(wanted) is Literal:
        return _fills_literal(given, get_args(wanted))
    if is_new_type(given):
        return given is wanted or fits(given.__supertype__, wanted, bound)
    if is_new_type(wanted):
        return False
    return _class_fits(given, wanted, bound)


def _fits_variable(given: Any, wanted: TypeVar) -> bool:
    if wanted.__constraints__:
        return any(fits(given, one) for one in wanted.__constraints__)
    return wanted.__bound__ is None or fits(given, wanted.__bound__)


def _variable_fits(given: TypeVar, wanted: Any, bound: Bindings) -> bool:
    """Of a variable that nothing has bound only its limits are known."""
    if given.__constraints__:
        return all(fits(one, wanted, bound) for one in given.__constraints__)
    return given.__bound__ is None or fits(given.__bound__, wanted, bound)


def _value_fits(value: Any, wanted: Any, bound: Bindings) -> bool:
    for one in choices(wanted) or (wanted,):
        if get_origin(one) is Literal:
            if any(type(value) is type(other) and value == other for other in get_args(one)):
                return True
        elif fits(type(value), one, bound):
            return True
    return False


def _fills_literal(given: Any, values: tuple[Any, ...]) -> bool:
    if given is type(None):
        return None in values
    if given is bool:
        return {True, False} <= {one for one in values if isinstance(one, bool)}
    return isinstance(given, type) and issubclass(given, Enum) and all(one in values for one in given)


def _class_fits(given: Any, wanted: Any, bound: Bindings) -> bool:
    kind, base = get_origin(given) or given, get_origin(wanted) or wanted
    if not isinstance(kind, type) or not isinstance(base, type):
        return True  # of another kind of hint nothing is known
    if _is_typed_dict(base):
        return _fits_typed_dict(given, base, bound)
    if _is_typed_dict(kind):
        return _typed_dict_fits(kind, wanted, base, bound)
    if base in _PROMOTED and issubclass(kind, _PROMOTED[base]):
        return True
    if _is_own_protocol(base):
        return _has_members(kind, base)
    if not _derives(kind, base):
        return False
    if base is tuple:
        return _tuple_fits(given, wanted, bound)
    needed = get_args(wanted)
    found = arguments_as(given, base) if needed else None
    if found is None or len(found) != len(needed):
        return True
    return all(fits(one, other, bound) for one, other in zip(found, needed, strict=True))


def _tuple_fits(given: Any, wanted: Any, bound: Bindings) -> bool:
    needed, found = items_of_tuple(wanted), items_of_tuple(given)
    if needed is None:
        return fits(item_of_any_tuple(given), item_of_any_tuple(wanted), bound)
    if found is None:
        # As of a bare `tuple`; tuple[int, ...] may have another number of items.
        return plain(item_of_any_tuple(given)) is Any
    return len(found) == len(needed) and all(fits(one, other, bound) for one, other in zip(found, needed, strict=True))


def _is_typed_dict(kind: Any) -> bool:
    return isinstance(kind, type) and hasattr(kind, "__total__") and hasattr(kind, "__required_keys__")


def _fits_typed_dict(given: Any, wanted: Any, bound: Bindings) -> bool:
    kind = get_origin(given) or given
    if not _is_typed_dict(kind):
        # A dict may have these keys where nothing is said of its values.
        found = arguments_as(given, dict) if issubclass(kind, dict) else ()
        return found is None or (len(found) == 2 and plain(found[1]) is Any)
    have, need = hints_of(kind), hints_of(wanted)
    keys = kind.__required_keys__ | kind.__optional_keys__
    return wanted.__required_keys__ <= kind.__required_keys__ and all(
        name in keys and fits(have.get(name, Any), need.get(name, Any), bound)
        for name in wanted.__required_keys__ | wanted.__optional_keys__
    )


def _typed_dict_fits(kind: Any, wanted: Any, base: type, bound: Bindings) -> bool:
    if not issubclass(dict, base):
        return False
    arguments = get_args(wanted)
    if len(arguments) == 2:
        key, value = arguments
        return fits(str, key, bound) and all(fits(one, value, bound) for one in hints_of(kind).values())
    return not arguments or base not in VALUES or fits(str, arguments[0], bound)


def _is_own_protocol(base: type) -> bool:
    """True for a protocol of the user's; those of Python's containers are compared as classes."""
    return bool(getattr(base, "_is_protocol", False)) and base.__module__ not in ("collections.abc", "typing")


def _has_members(kind: type, protocol: type) -> bool:
    """True when the class has every member of the protocol; what these are is not compared."""
    if protocol in kind.__mro__:
        return True
    names: set[str] = getattr(protocol, "__protocol_attrs__", set()) or {
        name
        for base in protocol.__mro__
        if getattr(base, "_is_protocol", False) and base is not typing.Protocol
        for name in (*vars(base), *_annotated(base))
        if not name.startswith(("_abc_", "_is_", "__"))
    }
    return all(hasattr(kind, name) or any(name in _annotated(base) for base in kind.__mro__) for name in names)


def _annotated(kind: type) -> Iterable[str]:
    """The attributes that a class declares, as a dataclass does."""
    # Their names do, which are known also where what they are annotated with is not.
    return inspect.get_annotations(kind, **_AS_TEXT)


def _derives(kind: type, base: type) -> bool:
    try:
        return issubclass(kind, base)
    except TypeError:  # a protocol of Python's with data
        return True
