"""What people type as arguments means what they would expect, and what is malformed is said in a sentence."""

import io
from pathlib import Path
from typing import Any

import pytest
import typer

from holdfast.cli.arguments import parse_call


@pytest.mark.parametrize(
    ("given", "named", "args", "kwargs"),
    [
        (None, [], (), {}),
        ('["o-1", 9.99]', [], ("o-1", 9.99), {}),
        ('{"order_id": "o-1"}', [], (), {"order_id": "o-1"}),
        ("42", [], (42,), {}),
        ('"o-1"', [], ("o-1",), {}),
        ("null", [], (None,), {}),
        ("[[1, 2]]", [], ([1, 2],), {}),
        (None, ["x=3", "y=true", "id=o-1", "empty="], (), {"x": 3, "y": True, "id": "o-1", "empty": ""}),
        (None, ["url=http://a/?b=c"], (), {"url": "http://a/?b=c"}),
        ('["o-1"]', ["amount=5"], ("o-1",), {"amount": 5}),
        ('{"a": 1}', ["b=2"], (), {"a": 1, "b": 2}),
    ],
)
def test_input_and_named_arguments_make_one_call(
    given: str | None, named: list[str], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    assert parse_call(given, named) == (args, kwargs)


def test_input_is_read_from_a_file_and_from_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "input.json"
    path.write_text('["größer"]', encoding="utf-8")
    assert parse_call(f"@{path}", []) == (("größer",), {})
    monkeypatch.setattr("sys.stdin", io.StringIO('{"a": 1}'))
    assert parse_call("-", []) == ((), {"a": 1})


@pytest.mark.parametrize(
    ("given", "named", "problem"),
    [
        ("o-1", [], "is not JSON"),
        ("{'a': 1}", [], "line 1, column 2"),
        ("[1,", [], "texts need double quotes"),
        ("@/no/such/file", [], "cannot be read"),
        (None, ["amount"], "is not NAME=VALUE"),
        (None, ["=1"], "is not NAME=VALUE"),
        (None, ["two words=1"], "is not NAME=VALUE"),
        ('{"a": 1}', ["a=2"], "'a' is given twice"),
    ],
)
def test_malformed_arguments_are_a_usage_error_that_says_what_is_wrong(
    given: str | None, named: list[str], problem: str
) -> None:
    with pytest.raises(typer.BadParameter) as caught:
        parse_call(given, named)
    assert problem in caught.value.message
