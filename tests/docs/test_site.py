"""The site has every page in its navigation, and in its reference every public name.

That it builds, and that its links lead somewhere, `make docs` shows, which is part of `make check`.
"""

import importlib
import importlib.util
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from . import pages

SITE = pages.ROOT / "docs" / "site"
DECISIONS = "docs/decisions/"
COPIES = "source/"


class _Loader(yaml.SafeLoader):
    """Reads what it cannot make, such as functions of Python, as nothing."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: None)


def _leaves(nav: Any) -> Iterator[str]:
    match nav:
        case str():
            yield nav
        case list():
            for one in nav:
                yield from _leaves(one)
        case dict():
            for below in nav.values():
                yield from _leaves(below)


@pytest.fixture(scope="module")
def hooks() -> Any:
    """The module that mkdocs.yml names."""
    spec = importlib.util.spec_from_file_location("hooks_of_the_site", SITE / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def navigation() -> Any:
    """As mkdocs.yml has it."""
    return yaml.load((SITE / "mkdocs.yml").read_text("utf-8"), _Loader)["nav"]


def pages_of(nav: Any) -> list[str]:
    """The pages that a navigation names, as files of this repository."""
    named = _leaves(nav)
    return [one.removeprefix(COPIES) if one.startswith(COPIES) else f"docs/{one}" for one in named]


def test_every_page_of_the_documentation_is_in_the_navigation_once(hooks: Any) -> None:
    named = pages_of(hooks.with_all_guides(navigation()))
    assert len(named) == len(set(named))
    of_docs = {page for page in pages.PAGES if page.startswith("docs/") and not page.startswith(DECISIONS)}
    assert of_docs - set(named) == set(), "give it a place in docs/site/mkdocs.yml"
    assert [page for page in named if not (pages.ROOT / page).is_file()] == []


def test_a_guide_that_nobody_has_placed_is_among_the_last_guides(hooks: Any) -> None:
    without = [
        {"Guides": [one for one in section["Guides"] if "Graphs" not in one]} if "Guides" in section else section
        for section in navigation()
    ]
    (guides,) = (section["Guides"] for section in hooks.with_all_guides(without) if "Guides" in section)
    assert {"Graphs": "guides/graphs.md"} in guides
    assert guides[0] != {"Graphs": "guides/graphs.md"}


def _in_reference() -> set[str]:
    reference = (page for page in pages.PAGES if page.startswith("docs/reference/"))
    return {name for page in reference for name in re.findall(r"^::: (\S+)$", pages.read(page), re.MULTILINE)}


@pytest.mark.parametrize("module", ["holdfast", "holdfast.testing", "holdfast.codecs"])
def test_a_public_name_without_a_page_comes_into_the_reference_by_itself(
    module: str, hooks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = importlib.import_module(module).__all__
    monkeypatch.setattr(f"{module}.__all__", [*names, "brand_new"])
    added = hooks.names_without_a_page(module)
    assert "brand_new" in added
    assert not {f"{module}.{name}" for name in added} & _in_reference()
    assert module in hooks.MODULES.values()
    assert all((pages.ROOT / "docs" / page).is_file() for page in hooks.MODULES)


def test_every_name_of_the_reference_is_there() -> None:
    for name in _in_reference():
        module, _, attribute = name.rpartition(".")
        parent: Any = importlib.import_module(module)
        assert hasattr(parent, attribute) or importlib.import_module(name), name
