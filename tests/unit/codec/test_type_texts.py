"""Types of Python's own as text and back, and nothing else: a text never runs anything."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Optional
from uuid import UUID

import pytest
from pydantic import BaseModel

from holdfast.hints.type_texts import hint_of, text_of


class Special(int):
    """A class of the user."""


class Model(BaseModel):
    n: int


@dataclass
class Data:
    n: int


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (int, "int"),
        (list[int] | None, "list[int] | None"),
        (Optional[dict[str, list[float]]], "dict[str, list[float]] | None"),  # noqa: UP045
        (date | str, "date | str"),
        (str | date, "str | date"),
        (tuple[int, ...], "tuple[int, ...]"),
        (tuple[int, UUID], "tuple[int, UUID]"),
        (set[Decimal], "set[Decimal]"),
        (list, "list"),
        (None, "None"),
        (Literal["a, ]", 1, True, None], "Literal['a, ]', 1, True, None]"),
        (datetime, "datetime"),
    ],
)
def test_a_hint_of_pythons_own_types_is_its_text_and_back(hint: Any, text: str) -> None:
    assert text_of(hint) == text
    assert repr(hint_of(text)) == repr(hint) or hint_of(text) == hint


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (Any, ""),
        (Special, ""),
        (Model, ""),
        (Data, ""),
        (int | Model, ""),
        (Annotated[int, "at least 3"], ""),
        (tuple[()], ""),
        (list[Model], "list[Any]"),
        (dict[str, Any], "dict[str, Any]"),
        (Literal["a" * 600], ""),
    ],
)
def test_what_a_class_of_the_user_takes_is_left_open(hint: Any, text: str) -> None:
    assert text_of(hint) == text
    if text:
        assert text_of(hint_of(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "os", "list[", "int()", "__import__('os').getpid()", "list[int, str]", "list[...]", "tuple[...]",
     "Literal[f()]", "int.real", "(" * 400, "list[" * 99 + "]" * 99, "int | " * 90 + "int", "3", "'int'", "int[str]"],
)  # fmt: skip
def test_a_text_that_is_no_such_hint_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        hint_of(text)
