"""Docstrings explain parameters in sentences, "retries: how often an attempt is repeated". Here these become lists."""

import re
from collections.abc import Iterable
from typing import Any

import griffe


class ParameterLists(griffe.Extension):
    """Makes a list item of each sentence that explains a parameter or an attribute."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is None or not (obj.is_function or obj.is_class):
            return
        obj.docstring.value = as_lists(obj.docstring.value, _names(obj))


def as_lists(text: str, names: Iterable[str]) -> str:
    """The text with an item for each explanation of one of these names.

    Explanations stand at the beginning of a paragraph, or behind another sentence; what is raised comes after them.
    """
    name = "|".join(map(re.escape, sorted(names, key=len, reverse=True))) or "(?!)"
    explained = re.compile(rf"(?:^|(?<=\. ))((?:{name})(?:, (?:{name}))*): ")
    return "\n\n".join(_with_items(paragraph, explained) for paragraph in text.split("\n\n"))


def _with_items(paragraph: str, explained: re.Pattern[str]) -> str:
    sentences = " ".join(line.strip() for line in paragraph.splitlines())
    before, *found = explained.split(sentences)
    if not found or paragraph.startswith((" ", "-", "|")):
        return paragraph
    items = [f"- {_code(names)}: {text.strip()}" for names, text in zip(found[::2], found[1::2], strict=True)]
    last, raises, errors = items[-1].partition(". Raises ")
    items[-1] = f"{last}." if raises else last
    after = f"\n\nRaises {errors}" if raises else ""
    return "\n".join([*([before.strip(), ""] if before.strip() else []), *items]) + after


def _code(names: str) -> str:
    return ", ".join(f"`{name}`" for name in names.split(", "))


def _names(obj: griffe.Object) -> set[str]:
    if isinstance(obj, griffe.Function):
        # What a decorator hides behind **options is explained all the same.
        called = {parameter.name for parameter in obj.parameters}
        return called | ({"name"} | _OPTIONS if "options" in called else set())
    made = obj.members.get("__init__")
    return set(obj.members) | ({one.name for one in made.parameters} if isinstance(made, griffe.Function) else set())


_OPTIONS = {
    *("retries", "recoveries", "backoff", "timeout", "queue", "placement", "priority", "retry_on", "heartbeat_timeout"),
    *("deps", "id", "max_duration", "metadata"),
}
"""Of steps, tasks and workflows."""
