"""Runs as HTML tables, for notebooks. Everything that a user can name is escaped."""

from collections.abc import Iterable, Sequence
from html import escape


def html_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; None is an empty cell. headings: none for a table of facts, whose first column names them."""
    head = f"<thead><tr>{''.join(f'<th>{escape(one)}</th>' for one in headings)}</tr></thead>" if headings else ""
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table>{head}<tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    return f"<td style='text-align: left'>{'' if value is None else escape(str(value))}</td>"
