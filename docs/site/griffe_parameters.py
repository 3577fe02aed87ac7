"""Docstrings explain parameters in lines, "retries: how often an attempt is repeated". Here these become lists."""

import re
from typing import Any

import griffe

_EXPLAINED = re.compile(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*): (?=\S)", re.MULTILINE)


class ParameterLists(griffe.Extension):
    """Makes a list item of each line that explains a parameter or attribute."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None and (obj.is_function or obj.is_class):
            obj.docstring.value = as_lists(obj.docstring.value)


def as_lists(text: str) -> str:
    """The text with an item for each explanation. Lines that are further in belong to the one before."""
    made: list[str] = []
    in_list = False
    for line in text.splitlines():
        match = _EXPLAINED.match(line)
        if match:
            names = ", ".join(f"`{name}`" for name in match[1].split(", "))
            made += ([] if in_list else [""]) + [f"- {names}: {line[match.end() :]}"]
            in_list = True
        elif in_list and line.startswith(("Raises ", "Source: ")):
            made += ["", line]
            in_list = False
        else:
            in_list = in_list and bool(line.strip())
            made.append(f"  {line.strip()}" if in_list else line)
    return "\n".join(made)
