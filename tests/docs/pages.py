"""What is on the pages of the documentation: blocks, commands, links, headings. Pure, but for reading the pages.

A fenced block of Python whose first line is a comment with a file name is that file. The others are run in order.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "examples/**/README.md")
    for path in ROOT.glob(pattern)
)

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\w+\.py)$")
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. line: of its first line in the page."""

    language: str
    text: str
    line: int

    @property
    def file_name(self) -> str | None:
        """The file that this block is; None when it is to be run."""
        match = _FILE.match(self.text.partition("\n")[0])
        return match[1] if match else None


@dataclass(frozen=True, slots=True)
class Link:
    """A link with its text; `target` as written."""

    text: str
    target: str


def read(page: str) -> str:
    """The text of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[Block]:
    """The fenced blocks of a language."""
    text = read(page)
    return [
        Block(match[1], match[2], text.count("\n", 0, match.start(2)) + 1)
        for match in _FENCE.finditer(text)
        if match[1] == language
    ]


def spans(page: str) -> list[str]:
    """What stands between back quotes."""
    return _SPAN.findall(_FENCE.sub("", read(page)))


def typed_lines(page: str) -> Iterator[str]:
    """What a reader is told to type: after a prompt, in an indented block, or between back quotes."""
    for block in blocks(page, "console"):
        yield from (line.removeprefix("$ ") for line in block.text.splitlines() if line.startswith("$ "))
    plain = _FENCE.sub("", read(page))
    yield from (line.strip() for line in plain.splitlines() if line.startswith("    "))
    yield from spans(page)


def links(page: str) -> list[Link]:
    """The links of a page, but those in its code."""
    return [Link(*match) for match in _LINK.findall(_FENCE.sub("", read(page)))]


def anchors(page: str) -> set[str]:
    """The anchors that the headings of a page make."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", read(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def sections(page: str) -> dict[str, str]:
    """The text below each heading of the second level."""
    parts = re.split(r"^## (.+)$", read(page), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))
