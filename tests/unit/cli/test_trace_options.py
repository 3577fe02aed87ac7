"""What a coordinator is told about traces: variables and options, and one sentence for what makes no sense."""

from typing import Any

import pytest
import typer
from pydantic import ValidationError

from holdfast.errors import HoldfastError
from holdfast_coordinator.app import export_settings
from holdfast_coordinator.config import Config
from holdfast_coordinator.server_commands import configured
from holdfast_coordinator.telemetry.otel_variables import ExportSettings
from holdfast_coordinator.trace_export import identity_rules, span_rules


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine has set."""
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)


def test_variables_become_the_rules_of_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "RATIO": "0.5",
        "RATIOS": "shop=0.1, shop/order=1",
        "EXPORT_ON": "never",
        "SEGMENT": "2h",
        "SPANS_MAX": "100",
        "MESSAGES": "false",
        "BAGGAGE": "tenant, plan",
    }.items():
        monkeypatch.setenv(f"HOLDFAST_TRACE_{name}", value)
    config = Config()
    rules = identity_rules(config, ExportSettings())
    assert (rules.ratio, rules.ratios) == (0.5, {"shop": 0.1, "shop/order": 1.0})
    assert (rules.on_failure, rules.segment.total_seconds()) == (False, 7_200)
    assert rules.baggage == {"tenant", "plan"}
    spans = span_rules(config)
    assert (spans.spans_max, spans.segment, spans.shows_messages) == (100, rules.segment, False)


def test_without_variables_everything_is_sampled_and_no_baggage_is_kept() -> None:
    rules = identity_rules(Config(), ExportSettings())
    assert (rules.ratio, dict(rules.ratios), rules.on_failure, rules.baggage) == (1.0, {}, True, frozenset())


@pytest.mark.parametrize(("option", "taken"), [(None, 0.25), (0.0, 0.0), (1.0, 1.0)])
def test_the_option_for_the_ratio_beats_the_variable_of_opentelemetry(option: float | None, taken: float) -> None:
    settings = ExportSettings(sample_ratio=0.25)
    assert identity_rules(Config(trace_ratio=option), settings).ratio == taken


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("RATIO", "2", "HOLDFAST_TRACE_RATIO: Input should be less than or equal to 1, not '2'"),
        ("RATIO", "half", "HOLDFAST_TRACE_RATIO: Input should be a valid number"),
        ("RATIOS", "shop", "HOLDFAST_TRACE_RATIOS: give pairs such as shop=0.1,shop/order=1, not 'shop'"),
        ("RATIOS", "shop=2", "HOLDFAST_TRACE_RATIOS: the ratio of shop must be from 0 to 1"),
        ("RATIOS", "shop=nan", "the ratio of shop must be from 0 to 1"),
        ("RATIOS", "shop=half", "HOLDFAST_TRACE_RATIOS, shop: Input should be a valid number"),
        ("RATIOS", "=1", "give pairs such as shop=0.1,shop/order=1, not '=1'"),
        ("EXPORT_ON", "always", "HOLDFAST_TRACE_EXPORT_ON: Input should be 'failure' or 'never', not 'always'"),
        ("SEGMENT", "1 day", "HOLDFAST_TRACE_SEGMENT: '1 day' is not a duration"),
        ("SEGMENT", "0s", "a trace covers at least one minute of a run, not '0s'"),
        ("SPANS_MAX", "0", "HOLDFAST_TRACE_SPANS_MAX: Input should be greater than or equal to 1, not '0'"),
        ("RELAY_AGE", "old", "HOLDFAST_TRACE_RELAY_AGE: 'old' is not a duration"),
        ("RELAY_RUNS", "0", "HOLDFAST_TRACE_RELAY_RUNS: Input should be greater than or equal to 1, not '0'"),
        ("MESSAGES", "maybe", "HOLDFAST_TRACE_MESSAGES: Input should be a valid boolean"),
    ],
)
def test_a_variable_that_makes_no_sense_is_one_sentence_that_names_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(f"HOLDFAST_TRACE_{name}", value)
    with pytest.raises(typer.BadParameter) as refused:
        configured()
    assert said in refused.value.message


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metrics_port": 99_999}, "--metrics-port: Input should be less than or equal to 65535, not 99999"),
        ({"namespaces": ("",)}, "--namespace: a namespace has"),
        ({"log_level": "loud"}, "--log-level: 'loud' is not a log level"),
    ],
)
def test_an_option_that_makes_no_sense_is_named_as_it_was_typed(options: dict[str, Any], said: str) -> None:
    with pytest.raises(typer.BadParameter) as refused:
        configured(**options)
    assert refused.value.message.startswith(said)


@pytest.mark.parametrize("url", ["local host", "ftp://collector:4317", "http://"])
def test_a_collector_that_is_no_url_is_refused_when_it_starts(url: str) -> None:
    with pytest.raises(HoldfastError, match="--otlp"):
        export_settings(Config(otlp=url))


def test_without_a_collector_nothing_is_exported() -> None:
    assert export_settings(Config()).traces is None
    settings = export_settings(Config(otlp="http://collector:4317"))
    assert settings.traces is not None
    assert settings.traces.address == "collector:4317"


def test_nan_is_no_ratio() -> None:
    with pytest.raises(ValidationError):
        Config(trace_ratio=float("nan"))
