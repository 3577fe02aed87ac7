"""The modules that a project names in its pyproject.toml."""

from pathlib import Path

import pytest

from holdfast.cli.project_file import ProjectFileUnusable, modules_of_project


@pytest.mark.feature("F21")
@pytest.mark.parametrize(
    ("text", "modules"),
    [
        (None, []),
        ("[project]\nname = 'shop'\n", []),
        ("[tool.holdfast]\n", []),
        ("[tool.holdfast]\nmodules = ['shop.flows', 'shop.more:app']\n", ["shop.flows", "shop.more:app"]),
    ],
)
def test_a_project_names_its_modules_or_none(tmp_path: Path, text: str | None, modules: list[str]) -> None:
    if text is not None:
        (tmp_path / "pyproject.toml").write_text(text)
    assert modules_of_project(tmp_path) == modules


@pytest.mark.feature("F21")
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[tool.holdfast\n", "cannot be read"),
        ("[tool.holdfast]\nmodules = 'shop'\n", "is a list of texts"),
        ("[tool.holdfast]\nmodules = [1]\n", "is a list of texts"),
    ],
)
def test_a_project_file_that_is_not_understood_is_named_with_what_is_wrong(
    tmp_path: Path, text: str, problem: str
) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(ProjectFileUnusable, match=problem) as caught:
        modules_of_project(tmp_path)
    assert caught.value.path == tmp_path / "pyproject.toml"
