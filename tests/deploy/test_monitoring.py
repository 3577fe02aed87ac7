"""Dashboard and alerts speak of metrics that there are, and every alert says what to do."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from holdfast_coordinator.metrics.table import OF_CELLS, TABLE, Kind

from . import compose
from .chart import DEPLOY

ROOT = DEPLOY.parent
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboards" / "holdfast.json").read_text("utf-8"))
ALERTS: list[dict[str, Any]] = [
    rule for group in compose.read("prometheus/alerts.yml")[0]["groups"] for rule in group["rules"]
]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = {
    f"{panel['title']}: {target['legendFormat']}": target["expr"] for panel in PANELS for target in panel["targets"]
}
QUERIES |= {alert["alert"]: alert["expr"] for alert in ALERTS}
SERIES = {
    f"{one.name}{suffix}": one
    for one in TABLE
    for suffix in (("_bucket", "_sum", "_count") if one.kind is Kind.HISTOGRAM else ("",))
}
"""Every name that a query may use."""
OF_PROMETHEUS = {"up"}
ADDED = {"instance", "job"}
"""Labels that Prometheus adds to each series."""
WORDS = {
    "and", "by", "histogram_quantile", "increase", "max", "on", "rate", "sum", "topk", "unless",
}  # fmt: skip
"""Functions and operators of PromQL that are used here."""

each_query = pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES.keys())
each_alert = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])


def selectors(query: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Each metric of a query with the matchers behind it."""
    for name, braces in re.findall(r"\b(up|holdfast_\w+)(\{[^}]*\})?", query):
        yield name, dict(re.findall(r'(\w+)(?:=~|!~|!=|=)"([^"]*)"', braces))


def plain(query: str) -> str:
    """A query without texts, selectors, ranges and lists of labels."""
    query = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", query)
    return re.sub(r"\b(by|on) \([^)]*\)", r"\1", query)


@each_query
def test_a_query_is_balanced_and_made_of_known_words(query: str) -> None:
    assert [query.count(mark) for mark in "([{"] == [query.count(mark) for mark in ")]}"]
    words = set(re.findall(r"\b[a-z_]\w*", plain(query)))
    assert words <= WORDS | set(SERIES) | OF_PROMETHEUS
    for rated in re.findall(r"\[([^\]]*)\]", query):
        assert re.fullmatch(r"\d+m|\$__rate_interval", rated)


@each_query
def test_a_query_names_metrics_that_there_are_and_labels_that_they_have(query: str) -> None:
    found = list(selectors(query))
    assert found
    labels = set(ADDED)
    for name, matchers in found:
        assert name in SERIES or name in OF_PROMETHEUS, name
        own = set(SERIES[name].labels) if name in SERIES else set()
        own |= {"le"} if name.endswith("_bucket") else set()
        assert set(matchers) <= own | ADDED, name
        labels |= own
    for listed in re.findall(r"\b(?:by|on) \(([^)]*)\)", query):
        assert set(listed.split(", ")) <= labels


@each_query
def test_counters_are_rated_and_gauges_are_not(query: str) -> None:
    for name, _ in selectors(query):
        rated = re.search(rf"\b(rate|increase)\({name}\b", query) is not None
        if name in SERIES:
            assert rated == (SERIES[name].kind is not Kind.GAUGE), name


@each_query
def test_what_every_replica_reads_alike_is_not_added_up(query: str) -> None:
    for name, _ in selectors(query):
        if name in OF_CELLS:
            assert re.search(rf"max( by \([^)]*\) )?\({name}\b", query), name


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {
        SERIES[name].name for panel in PANELS for target in panel["targets"] for name, _ in selectors(target["expr"])
    }
    assert shown == {one.name for one in TABLE}


def test_every_panel_says_what_it_shows_and_none_lies_on_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
        assert panel["type"] == "row" or panel["description"].endswith(".")
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


def test_variables_of_the_dashboard_are_used_and_read_from_labels_that_there_are() -> None:
    text = json.dumps(DASHBOARD["panels"])
    for variable in DASHBOARD["templating"]["list"]:
        assert re.search(rf"\$\{{?{variable['name']}\b", text), variable["name"]
        if variable["type"] == "query":
            match = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"])
            assert match is not None
            assert match[2] in {*SERIES[match[1]].labels, *ADDED}
    used = set(re.findall(r"\$\{?([a-z]+)\b", text))
    assert used <= {variable["name"] for variable in DASHBOARD["templating"]["list"]}


@each_alert
def test_an_alert_says_what_is_wrong_how_bad_it_is_and_where_to_read_on(alert: dict[str, Any]) -> None:
    assert re.fullmatch(r"Holdfast([A-Z][a-z]+)+", alert["alert"])
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert set(alert["annotations"]) == {"summary", "runbook"}
    summary = alert["annotations"]["summary"]
    assert summary.endswith(".")
    grouped = set(re.findall(r"\b(?:by|on) \(([^)]*)\)", alert["expr"]))
    known = {label for listed in grouped for label in listed.split(", ")} | ADDED
    assert set(re.findall(r"\$labels\.(\w+)", summary)) <= known


@each_alert
def test_the_runbook_of_an_alert_is_a_section_with_something_to_do(alert: dict[str, Any]) -> None:
    page, _, anchor = alert["annotations"]["runbook"].partition("#")
    sections = re.split(r"^### ", (ROOT / page).read_text("utf-8"), flags=re.M)
    (section,) = [one for one in sections if one.splitlines()[0].lower() == anchor]
    assert section.splitlines()[0] == alert["alert"]
    assert len(section.split()) > 25


def test_no_two_alerts_have_one_name() -> None:
    names = [alert["alert"] for alert in ALERTS]
    assert len(names) == len(set(names))


def test_prometheus_itself_understands_rules_and_configuration() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    config = DEPLOY / "prometheus" / "prometheus.yml"
    checked = subprocess.run([promtool, "check", "config", config], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
