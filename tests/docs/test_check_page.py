"""The page of `holdfast check`: its table is that of the rules, and its example prints what it shows."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from holdfast.cli import make_app
from holdfast.lint import RULES, rules_table

from . import pages

PAGE = "docs/guides/check.md"


def test_the_table_of_the_page_is_that_of_the_rules() -> None:
    written = re.search(r"<!-- rules -->\n(.*)<!-- /rules -->", pages.read(PAGE), re.DOTALL)
    assert written is not None
    assert written[1] == rules_table(), "put this between the two comments of the page"


def test_every_code_that_the_page_names_is_a_rule() -> None:
    known = {rule.code for rule in RULES}
    named = set(re.findall(r"HF\d+", pages.read(PAGE)))
    assert named - {"HF1"} == known


def test_the_example_prints_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = [block for block in pages.blocks(PAGE, "python") if block.file_name == "flows.py"]
    (console,) = pages.blocks(PAGE, "console")
    typed, _, printed = console.text.partition("\n")
    (tmp_path / "flows.py").write_text(example.text)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(make_app(), typed.split()[2:])
    assert result.stdout == printed
