"""The site has every page in its navigation, and every public name in its reference.

That it builds, and that its links lead somewhere, `make docs` shows, which is part of `make check`.
"""

import importlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

import holdfast

from . import pages

CONFIG = pages.ROOT / "docs" / "site" / "mkdocs.yml"
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


def in_navigation() -> list[str]:
    """The pages that the navigation names, as files of this repository."""
    named = _leaves(yaml.load(CONFIG.read_text("utf-8"), _Loader)["nav"])
    return [one.removeprefix(COPIES) if one.startswith(COPIES) else f"docs/{one}" for one in named]


def test_every_page_of_the_documentation_is_in_the_navigation_once() -> None:
    named = in_navigation()
    assert len(named) == len(set(named))
    of_docs = {page for page in pages.PAGES if page.startswith("docs/") and not page.startswith(DECISIONS)}
    assert of_docs - set(named) == set()
    assert [page for page in named if not (pages.ROOT / page).is_file()] == []


def test_every_decision_is_in_the_list_of_decisions() -> None:
    listed = {f"{DECISIONS}{link.target}" for link in pages.links(f"{DECISIONS}README.md")}
    assert listed == {page for page in pages.PAGES if page.startswith(DECISIONS)} - {f"{DECISIONS}README.md"}


def _in_reference() -> set[str]:
    reference = (page for page in pages.PAGES if page.startswith("docs/reference/"))
    return {name for page in reference for name in re.findall(r"^::: (\S+)$", pages.read(page), re.MULTILINE)}


def test_every_public_name_is_in_the_reference() -> None:
    said_elsewhere = {"step", "workflow"}  # App.step and App.workflow of the default app
    assert {f"holdfast.{name}" for name in set(holdfast.__all__) - said_elsewhere} - _in_reference() == set()


@pytest.mark.parametrize("module", ["holdfast.testing", "holdfast.codecs"])
def test_every_public_name_of_a_module_is_in_the_reference(module: str) -> None:
    names = {f"{module}.{name}" for name in importlib.import_module(module).__all__}
    assert names - _in_reference() == set()


def test_every_name_of_the_reference_is_there() -> None:
    for name in _in_reference():
        module, _, attribute = name.rpartition(".")
        parent: Any = importlib.import_module(module)
        assert hasattr(parent, attribute) or importlib.import_module(name), name
