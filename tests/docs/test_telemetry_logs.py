"""The page on telemetry has the events that the coordinator logs, with their levels and fields, and no others, and what
records of user code say.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator

from holdfast.logs import NO_FACTS

from . import pages

PAGE = "docs/telemetry.md"
SOURCES = pages.ROOT / "coordinator" / "holdfast_coordinator"
LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}
COMPLAINT = "_complain"
"""A warning that is held back when it comes too often."""


def logged() -> Iterator[tuple[str, str, set[str], bool]]:
    """Of each call that logs: event, level, fields, and whether there are fields that only show when it runs."""
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="log"), attr=method)) if method in LEVELS:
                    level = LEVELS[method]
                case ast.Call(func=ast.Attribute(attr=method)) if method == COMPLAINT:
                    level = "warning"
                case _:
                    continue
            match node.args:
                case [ast.Constant(value=str(event))]:
                    fields = {keyword.arg for keyword in node.keywords if keyword.arg is not None} - {"exc_info"}
                    yield event, level, fields, any(keyword.arg is None for keyword in node.keywords)
                case _:
                    assert COMPLAINT in path.read_text(encoding="utf-8"), f"{path}:{node.lineno} logs no fixed event"


def listed() -> dict[str, tuple[set[str], set[str]]]:
    """Event -> levels and fields, as the page has them."""
    section = pages.sections(PAGE)["Logs"]
    rows = re.findall(r"^\| `(\w+)` \| ([\w, ]+) \| [^|]+ \|([^|]*)\|$", section, re.MULTILINE)
    return {event: (set(levels.split(", ")), set(re.findall(r"\w+", fields))) for event, levels, fields in rows}


def test_the_page_lists_what_records_of_user_code_say() -> None:
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| [^|]+ \|$", pages.sections(PAGE)["Logs"], re.MULTILINE)
    assert [name for row in rows for name in re.findall(r"\w+", row)] == list(NO_FACTS)


def test_the_page_lists_every_event_with_its_levels() -> None:
    levels: dict[str, set[str]] = defaultdict(set)
    for event, level, _, _ in logged():
        levels[event].add(level)
    assert {event: found for event, (found, _) in listed().items()} == levels


def test_the_page_lists_the_fields_of_every_event() -> None:
    fields: dict[str, set[str]] = defaultdict(set)
    has_more: set[str] = set()
    for event, _, found, more in logged():
        fields[event] |= found
        if more:
            has_more.add(event)
    on_page = {event: found for event, (_, found) in listed().items()}
    assert [event for event in fields if not fields[event] <= on_page[event]] == []
    assert [event for event in fields if event not in has_more and fields[event] != on_page[event]] == []
