"""The page on telemetry has the table of metrics as the code has it, and a section for each alert and no other."""

import re

import yaml

from holdfast_coordinator.metrics.table import OF_CELLS, SERIES_MAX, TABLE

from . import pages

PAGE = "docs/telemetry.md"


def test_the_page_has_the_table_of_the_code() -> None:
    rows = re.findall(r"^\| `(holdfast_\w+)` \| (\w+) \| ([^|]*) \| (.*) \|$", pages.read(PAGE), re.MULTILINE)
    assert rows == [(one.name, one.kind.value, ", ".join(one.labels), one.help) for one in TABLE]


def test_the_page_says_which_gauges_every_coordinator_reads_alike() -> None:
    text = pages.sections(PAGE)["Metrics"]
    (sentence,) = re.findall(r"every 15 s: of (.*?) take the", text, re.DOTALL)
    assert set(re.findall(r"`(\w+)`", sentence)) == OF_CELLS
    assert f"beyond {SERIES_MAX} label sets" in text


def test_every_alert_has_its_section_in_the_order_of_the_rules() -> None:
    rules = yaml.safe_load(pages.read("deploy/prometheus/alerts.yml"))["groups"][0]["rules"]
    sections = re.findall(r"^### (Holdfast\w+)$", pages.read(PAGE), re.MULTILINE)
    assert sections == [rule["alert"] for rule in rules]


def test_metrics_that_the_page_names_are_in_the_table() -> None:
    named = set(re.findall(r"`(holdfast_[a-z_]+)`", pages.read(PAGE)))
    assert named <= {one.name for one in TABLE}
