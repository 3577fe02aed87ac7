"""What the site needs beyond its pages: copies of files that links out of docs/ name, and what is listed by itself.

A guide that the navigation does not name comes last among the guides; a public name that no page of the reference has
comes last on that of its module; all decisions are listed on their first page.
On a forge such a link leads to the file in the repository. Here a Markdown file and an example become pages below
source/, a folder a list, any other file a text. Nothing of a page may be fetched from elsewhere.
"""

import importlib
import logging
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
COPIES = "source"
GUIDES = "Guides"
MODULES = {
    "reference/workflow_code.md": "holdfast",
    "reference/testing.md": "holdfast.testing",
    "reference/codecs.md": "holdfast.codecs",
}
"""Where names that have no page of the reference are shown."""
OF_THE_DEFAULT_APP = {"step", "workflow"}
"""Methods of `App`, which the reference shows there."""

_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)(?=#|\))")
_FROM_ELSEWHERE = re.compile(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=\"(?:https?:)?//[^\"]*")
_HIGHLIGHTED = {".py": "python", ".mjs": "javascript", ".go": "go"}

log = logging.getLogger("mkdocs.hooks.holdfast")
origins: dict[str, Path] = {}
"""Where the copies come from, by their address in the site."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Gives every guide a place in the navigation."""
    config.nav = with_all_guides(config.nav)
    return config


def with_all_guides(nav: Any) -> Any:
    """The navigation with the guides that it does not name, after those that it does."""
    (section,) = (one for one in nav if GUIDES in one)
    named = {path for entry in section[GUIDES] for path in entry.values()}
    more = [
        {_title(path): path.relative_to(DOCS).as_posix()}
        for path in sorted(DOCS.glob("guides/*.md"))
        if path.relative_to(DOCS).as_posix() not in named
    ]
    return [{GUIDES: section[GUIDES] + more} if one is section else one for one in nav]


def names_without_a_page(module: str) -> list[str]:
    """The public names of a module that no page of the reference has."""
    reference = "".join(path.read_text(encoding="utf-8") for path in DOCS.glob("reference/*.md"))
    has = set(re.findall(rf"^::: {re.escape(module)}\.(\w+)$", reference, re.MULTILINE))
    return sorted(set(importlib.import_module(module).__all__) - has - OF_THE_DEFAULT_APP)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds every file that pages name and that is not below docs/, and what the added pages name in turn."""
    origins.clear()
    pages = [(DOCS / file.src_uri, file.content_string) for file in files.documentation_pages()]
    while pages:
        origin, text = pages.pop()
        for target in _targets(origin, text):
            address = _address(target)
            if address in origins or not address.startswith(f"{COPIES}/"):
                continue
            origins[address] = target
            content = target.read_text(encoding="utf-8") if target.is_file() else _listed(target.parent)
            if target.suffix == ".md":
                pages.append((target, content))
            elif address.endswith(".md"):
                content = f"---\nsearch: {{exclude: true}}\n---\n# {target.name}\n\n{_fenced(target, content)}"
            files.append(File.generated(config, address, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Leads links that leave docs/, or enter it from a copy, to where their targets are in the site."""
    here = page.file.src_uri
    if (module := MODULES.get(here)) is not None:
        markdown += "".join(f"\n\n::: {module}.{name}" for name in names_without_a_page(module))
    elif here == "decisions/README.md":
        decisions = sorted(DOCS.glob("decisions/0*.md"))
        markdown += "".join(["\n", *(f"\n- [{_title(path)}]({path.name})" for path in decisions)])
    origin = origins.get(here, DOCS / here)

    def moved(link: re.Match[str]) -> str:
        target = _file(origin, link[1])
        return link[1] if target is None else posixpath.relpath(_address(target), posixpath.dirname(here))

    if here in origins and origins[here].suffix != ".md":
        return markdown
    parts = _FENCE.split(markdown)
    fences = [*_FENCE.findall(markdown), ""]
    return "".join(_LINK.sub(moved, part) + fence for part, fence in zip(parts, fences, strict=True))


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """A page that would fetch something from elsewhere is a warning, and so fails a strict build."""
    for found in _FROM_ELSEWHERE.findall(output):
        log.warning("%s fetches from elsewhere: %s", page.file.src_uri, found)
    return output


def _targets(origin: Path, text: str) -> Iterator[Path]:
    for part in _FENCE.split(text):
        for link in _LINK.findall(part):
            if (target := _file(origin, link)) is not None:
                yield target


def _file(origin: Path, link: str) -> Path | None:
    """The file that a link names, of a folder its README; None for what is not there: that is the builder's to say."""
    target = (origin.parent / link).resolve()
    if not target.is_relative_to(ROOT):
        return None
    if target.is_dir():
        return target / "README.md"
    return target if target.is_file() else None


def _address(target: Path) -> str:
    if target.is_relative_to(DOCS):
        return target.relative_to(DOCS).as_posix()
    copy = f"{COPIES}/{target.relative_to(ROOT).as_posix()}"
    if target.suffix == ".md":
        return copy
    is_example = target.is_relative_to(ROOT / "examples") and target.suffix in _HIGHLIGHTED
    return f"{copy}.md" if is_example else f"{copy}.txt"


def _title(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")


def _listed(folder: Path) -> str:
    """In the place of the README that a folder has not."""
    files = sorted(path.name for path in folder.iterdir() if path.is_file() and "_pb2" not in path.name)
    return "\n".join([f"# {folder.name}", "", *(f"- [{name}]({name})" for name in files)])


def _fenced(target: Path, content: str) -> str:
    return f"````{_HIGHLIGHTED[target.suffix]}\n{content}````\n"
