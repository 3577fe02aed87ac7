"""Structural mutations of valid messages: one field or element becomes what a peer might make of it by mistake."""

from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

Change = Callable[[], None]

_INTS = (-1, 0, 1, 2, 3, 17, 2**31 - 1, -(2**31))
_LONGS = (*_INTS, 10**15, -(10**15), 253_402_300_800, 2**63 - 1, -(2**63))
_TEXTS = ("", "\0", "a\0b", "\n", "x" * 201, "y" * 3_000, "run_", "run_00" + "0" * 26, "é\u202e", "order")
_BYTES = (b"", b"\0" * 40, b"\xff")
_VALUES: dict[int, tuple[Any, ...]] = {
    FieldDescriptor.TYPE_INT32: _INTS,
    FieldDescriptor.TYPE_ENUM: _INTS,
    FieldDescriptor.TYPE_INT64: _LONGS,
    FieldDescriptor.TYPE_STRING: _TEXTS,
    FieldDescriptor.TYPE_BYTES: _BYTES,
    FieldDescriptor.TYPE_BOOL: (True, False),
    FieldDescriptor.TYPE_DOUBLE: (-1.0, float("inf"), float("nan"), 1e300),
}


@st.composite
def mutated(draw: st.DrawFn, message: Any, *, times: int = 3, spared: frozenset[str] = frozenset()) -> Any:
    """A copy of the message with 1 to `times` mutations; fields with these names are left alone."""
    copy = type(message)()
    copy.CopyFrom(message)
    for _ in range(draw(st.integers(1, times))):
        changes = list(_changes(copy, spared))
        draw(st.sampled_from(changes))(draw)
    return copy


def _changes(message: Message, spared: frozenset[str]) -> Iterator[Callable[[st.DrawFn], None]]:
    for field in message.DESCRIPTOR.fields:
        if field.name in spared:
            continue
        if field.is_repeated:
            yield from _of_repeated(message, field, spared)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            if message.HasField(field.name):
                yield lambda draw, name=field.name: message.ClearField(name)  # type: ignore[misc]
                yield from _changes(getattr(message, field.name), spared)
            else:
                yield lambda draw, name=field.name: getattr(message, name).SetInParent()  # type: ignore[misc]
        else:
            yield _set(message, field)


def _set(message: Message, field: Any) -> Callable[[st.DrawFn], None]:
    return lambda draw: setattr(message, field.name, draw(st.sampled_from(_VALUES[field.type])))


def _of_repeated(message: Message, field: Any, spared: frozenset[str]) -> Iterator[Callable[[st.DrawFn], None]]:
    values = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        if field.message_type.fields_by_name["value"].type == FieldDescriptor.TYPE_STRING:
            yield lambda draw: values.update({draw(st.sampled_from(_TEXTS)): draw(st.sampled_from(_TEXTS))})
        return
    if field.type != FieldDescriptor.TYPE_MESSAGE:
        yield lambda draw: values.append(draw(st.sampled_from(_VALUES[field.type])))
        return
    yield lambda draw: values.add() and None
    if len(values):
        yield lambda draw: values.append(values[draw(st.integers(0, len(values) - 1))])
        yield lambda draw: values.pop(draw(st.integers(0, len(values) - 1))) and None
        yield lambda draw: values.reverse()
        for element in values:
            yield from _changes(element, spared)
