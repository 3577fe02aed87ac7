"""The page on telemetry has the tables of spans, attributes and links as the builders follow them."""

from holdfast_coordinator.telemetry.catalogue import ATTRIBUTES, LINKS, SPANS

from . import pages

PAGE = "docs/telemetry.md"

ROWS = [
    *(f"| `{span.name}` | {span.kind.name} | {span.begins} - {span.ends} | {span.below} |" for span in SPANS),
    *(f"| `{name}` | {meaning} |" for name, meaning in (ATTRIBUTES | LINKS).items()),
]


def test_the_page_lists_every_span_attribute_and_link() -> None:
    lines = pages.read(PAGE).splitlines()
    assert [row for row in ROWS if row not in lines] == []
