"""The table of metrics: names and labels as a monitoring system wants them, and what the registry makes of them."""

import re

import pytest

from holdfast_coordinator.metrics.metrics import Metrics
from holdfast_coordinator.metrics.table import OF_CELLS, TABLE, USER_LABELS, Instrument, Kind

ALLOWED = USER_LABELS | {
    "outcome", "status", "state", "placement", "held", "reason", "alarm", "path", "pool", "work",
}  # fmt: skip
"""Every label there may be: names that users choose, which are bounded, and words of a short list."""

each = pytest.mark.parametrize("one", TABLE, ids=lambda one: one.name)


@each
def test_a_name_says_its_unit_and_its_kind(one: Instrument) -> None:
    assert re.fullmatch(r"holdfast_[a-z_]+[a-z]", one.name)
    assert one.name.endswith("_seconds") == (one.unit == "s")
    assert one.name.endswith("_total") == (one.kind is Kind.COUNTER)


@each
def test_no_label_can_be_an_id(one: Instrument) -> None:
    assert set(one.labels) <= ALLOWED
    assert not [label for label in one.labels if label == "id" or label.endswith("_id")]


@each
def test_help_is_one_sentence(one: Instrument) -> None:
    assert re.fullmatch(r"[A-Z][^.\n]*\.", one.help)
    assert '"' not in one.help


@each
def test_a_histogram_and_nothing_else_has_buckets_and_they_grow(one: Instrument) -> None:
    assert bool(one.buckets) == (one.kind is Kind.HISTOGRAM)
    assert list(one.buckets) == sorted(set(one.buckets))


def test_names_are_unique_and_every_gauge_of_cells_is_in_the_table() -> None:
    names = [one.name for one in TABLE]
    assert len(names) == len(set(names))
    assert {one.name for one in TABLE if one.kind is Kind.GAUGE} >= OF_CELLS


def test_the_registry_holds_the_whole_table_and_no_more() -> None:
    families = {family.name: family for family in Metrics().registry.collect()}
    assert set(families) == {one.name.removesuffix("_total") for one in TABLE}
    for one in TABLE:
        family = families[one.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (one.kind.value, one.help)


def test_two_replicas_in_one_process_count_for_themselves() -> None:
    first, second = Metrics(), Metrics()
    first.run_started("default", "order")
    labels = {"namespace": "default", "workflow": "order"}
    assert first.registry.get_sample_value("holdfast_runs_started_total", labels) == 1
    assert second.registry.get_sample_value("holdfast_runs_started_total", labels) is None
