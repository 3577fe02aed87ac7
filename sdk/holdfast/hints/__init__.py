"""What a type hint says of values: how they are read from JSON, and what would be lost on the way there and back."""

from holdfast.hints.hopeless import named
from holdfast.hints.type_texts import hint_of, text_of
from holdfast.hints.value_types import UNDECLARED, HopelessHint, UnknownYet, ValueType, problem_of, value_type

__all__ = [
    "UNDECLARED",
    "HopelessHint",
    "UnknownYet",
    "ValueType",
    "hint_of",
    "named",
    "problem_of",
    "text_of",
    "value_type",
]
