"""Messages that are right by their descriptor and wrong in every other way, and bytes that are no message at all.

Made from the descriptors of the rpcs alone, so that a new field or rpc is tried without a word here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

LEVELS_MAX = 4
"""How deep messages lie in each other; most of what the protocol has is within it."""
MANY = 200
"""How many elements a long list has."""
KNOWN_SHARE = 0.7
"""How often a field with known values has one of them: all others are refused at the door."""

Known = Mapping[str, Sequence[Any]]
"""By the name of a field, values with which a message gets further than to the first check."""

_INT32 = (0, 1, -1, 2, 7, 1_000, 2**31 - 1, -(2**31))
_INT64 = (*_INT32, 2**31, 10**15, -(10**15), 253_402_300_799, 253_402_300_800, 2**63 - 1, -(2**63))
_TEXTS = (
    "", "\0", "a\0b", "\n", " ", "x" * 201, "y" * 3_000, "run_", "run_00" + "0" * 26, "é\u202e", "default", "flow",
    "{a}", "{a.__class__}", "%s", "'; --", "\U0010ffff", "../..", "None", "1", "ses_00000000000000000000",
)  # fmt: skip
_BYTES = (b"", b"\0" * 40, b"\xff", b"1", b'"x"', b"[" * 5_000, b"{", b"NaN", b"1e999", b"9" * 5_000, b'"\\ud800"')

_SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_INT32: st.sampled_from(_INT32) | st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_ENUM: st.integers(-1, 9) | st.sampled_from(_INT32),
    FieldDescriptor.TYPE_INT64: st.sampled_from(_INT64) | st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_STRING: st.sampled_from(_TEXTS)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    FieldDescriptor.TYPE_BYTES: st.sampled_from(_BYTES) | st.binary(max_size=40),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_DOUBLE: st.sampled_from((-1.0, 0.0, 1e300, float("inf"), float("nan"))),
}


@st.composite
def wild(draw: st.DrawFn, kind: Descriptor, known: Known, levels: int = LEVELS_MAX) -> Any:
    """A message of this kind. Each field is there or not; lists are empty, short or long."""
    made = GetMessageClass(kind)()
    for field in kind.fields:
        # A field with known values is one without which nothing further is looked at.
        if draw(st.integers(0, 9)) < (9 if field.name in known else 5):
            _fill(draw, made, field, known, levels)
    return made


def _fill(draw: st.DrawFn, made: Message, field: FieldDescriptor, known: Known, levels: int) -> None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        keys = draw(st.lists(_SCALARS[FieldDescriptor.TYPE_STRING], max_size=3))
        value = field.message_type.fields_by_name["value"]
        for key in keys:
            if value.message_type is None:
                getattr(made, field.name)[key] = draw(_scalar(value, known))
            elif levels:
                getattr(made, field.name)[key].CopyFrom(draw(wild(value.message_type, known, levels - 1)))
    elif field.message_type is not None:
        if not levels:
            return
        of_one = wild(field.message_type, known, levels - 1)
        if field.is_repeated:
            some = draw(st.lists(of_one, max_size=3))
            times = MANY if some and draw(st.integers(0, 19)) == 0 else 1
            getattr(made, field.name).extend(some * times)
        else:
            getattr(made, field.name).CopyFrom(draw(of_one))
    elif field.is_repeated:
        some = draw(st.lists(_scalar(field, known), max_size=4))
        getattr(made, field.name).extend(some * (MANY if draw(st.integers(0, 19)) == 0 else 1))
    else:
        setattr(made, field.name, draw(_scalar(field, known)))


def _scalar(field: FieldDescriptor, known: Known) -> st.SearchStrategy[Any]:
    anything = _SCALARS[field.type]
    if field.name not in known:
        return anything
    right = st.sampled_from(known[field.name])
    return st.floats(0, 1).flatmap(lambda share: right if share < KNOWN_SHARE else anything)


@st.composite
def broken(draw: st.DrawFn, kind: Descriptor, known: Known) -> bytes:
    """Bytes: of a wild message, cut or with changed bytes, or of no message whatever."""
    if draw(st.booleans()):
        return draw(st.binary(min_size=1, max_size=300))
    data = bytearray(draw(wild(kind, known)).SerializeToString() or b"\x0a\x01a")
    match draw(st.integers(0, 3)):
        case 0:
            del data[draw(st.integers(0, len(data) - 1)) :]
        case 1:
            for _ in range(draw(st.integers(1, 5))):
                data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
        case 2:
            data[:0] = draw(st.binary(min_size=1, max_size=5))
        case _:
            data += draw(st.binary(min_size=1, max_size=20))
    return bytes(data)
