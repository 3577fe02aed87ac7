"""The standard variables of OpenTelemetry, as holdfast reads them."""

from pathlib import Path
from typing import Any

import pytest

from holdfast_coordinator.telemetry.otel_variables import Endpoint, ExportSettings

HERE = "http://collector:4317"
OTLP = "OTEL_EXPORTER_OTLP_"


def read(*, otlp: str | None = None, **variables: str) -> ExportSettings:
    return ExportSettings.from_variables(variables, otlp)


def traces(**variables: str) -> Endpoint:
    found = read(**{f"{OTLP}ENDPOINT": HERE, **variables}).traces
    assert found is not None
    return found


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {f"{OTLP}ENDPOINT": ""},
        {f"{OTLP}ENDPOINT": "  "},
        {f"{OTLP}HEADERS": "a=b", f"{OTLP}PROTOCOL": "http/protobuf"},
        {f"{OTLP}ENDPOINT": HERE, "OTEL_SDK_DISABLED": "True"},
        {f"{OTLP}ENDPOINT": HERE, "OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"},
        {"OTEL_TRACES_SAMPLER": "always_on"},
    ],
)
def test_nothing_is_exported_unless_a_collector_is_named(variables: dict[str, str]) -> None:
    assert read(**variables) == ExportSettings()


@pytest.mark.parametrize(
    ("url", "variables", "address", "is_secure"),
    [
        ("http://collector:4317", {}, "collector:4317", False),
        ("https://collector:4317", {}, "collector:4317", True),
        ("HTTP://collector:4317/", {}, "collector:4317", False),
        ("http://collector:4317/v1/traces", {}, "collector:4317", False),
        ("http://collector", {}, "collector:4317", False),
        ("https://api.vendor.example", {}, "api.vendor.example:443", True),
        ("http://[::1]:4317", {}, "[::1]:4317", False),
        ("collector:4317", {}, "collector:4317", True),
        ("collector", {}, "collector:4317", True),
        ("collector:4317", {f"{OTLP}INSECURE": "TRUE"}, "collector:4317", False),
        ("collector:4317", {f"{OTLP}TRACES_INSECURE": "true"}, "collector:4317", False),
        ("https://collector:4317", {f"{OTLP}INSECURE": "true"}, "collector:4317", True),
    ],
)
def test_the_scheme_says_whether_tls_is_spoken(
    url: str, variables: dict[str, str], address: str, is_secure: bool
) -> None:
    found = read(**{f"{OTLP}ENDPOINT": url}, **variables).traces
    assert found is not None
    assert (found.address, found.is_secure) == (address, is_secure)


def test_one_endpoint_is_for_both_signals() -> None:
    assert read(**{f"{OTLP}ENDPOINT": HERE}) == ExportSettings(Endpoint("collector:4317"), Endpoint("collector:4317"))


def test_a_signal_can_have_an_endpoint_of_its_own() -> None:
    found = read(**{f"{OTLP}ENDPOINT": HERE, f"{OTLP}METRICS_ENDPOINT": "http://other:1"})
    assert found == ExportSettings(Endpoint("collector:4317"), Endpoint("other:1"))
    assert read(**{f"{OTLP}TRACES_ENDPOINT": HERE}) == ExportSettings(Endpoint("collector:4317"))


@pytest.mark.parametrize(
    ("variables", "exported"),
    [
        ({"OTEL_TRACES_EXPORTER": "none"}, (False, True)),
        ({"OTEL_METRICS_EXPORTER": "none"}, (True, False)),
        ({"OTEL_METRICS_EXPORTER": "prometheus"}, (True, False)),
        ({"OTEL_METRICS_EXPORTER": "prometheus, otlp"}, (True, True)),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, (True, True)),
        ({"OTEL_SDK_DISABLED": "false"}, (True, True)),
    ],
)
def test_a_signal_can_be_switched_off(variables: dict[str, str], exported: tuple[bool, bool]) -> None:
    found = read(**{f"{OTLP}ENDPOINT": HERE}, **variables)
    assert (found.traces is not None, found.metrics is not None) == exported


def test_who_asks_for_otlp_without_an_endpoint_gets_the_default_one() -> None:
    assert read(OTEL_TRACES_EXPORTER="otlp") == ExportSettings(Endpoint("localhost:4317"))


@pytest.mark.parametrize(
    ("option", "value", "field", "expected"),
    [
        ("HEADERS", "api-key=secret", "headers", (("api-key", "secret"),)),
        ("HEADERS", " A = 1 ,, b=x%3D%2C%20y ", "headers", (("a", "1"), ("b", "x=, y"))),
        ("HEADERS", "authorization=Basic dXNlcg==", "headers", (("authorization", "Basic dXNlcg=="),)),
        ("HEADERS", "", "headers", ()),
        ("TIMEOUT", "2500", "timeout_seconds", 2.5),
        ("COMPRESSION", "gzip", "is_compressed", True),
        ("COMPRESSION", "none", "is_compressed", False),
        ("CERTIFICATE", "/etc/ca.pem", "certificate", Path("/etc/ca.pem")),
        ("PROTOCOL", "grpc", "timeout_seconds", 10.0),
    ],
)
def test_an_option_holds_for_all_signals_or_for_one(option: str, value: str, field: str, expected: Any) -> None:
    both = read(**{f"{OTLP}ENDPOINT": HERE, f"{OTLP}{option}": value})
    assert getattr(both.traces, field) == getattr(both.metrics, field) == expected
    assert getattr(traces(**{f"{OTLP}TRACES_{option}": value}), field) == expected


def test_the_variable_of_a_signal_comes_before_the_general_one() -> None:
    found = traces(**{f"{OTLP}HEADERS": "a=1,b=2", f"{OTLP}TRACES_HEADERS": "c=3", f"{OTLP}METRICS_HEADERS": "d=4"})
    assert found.headers == (("c", "3"),)


def test_a_client_may_show_a_certificate() -> None:
    found = traces(**{f"{OTLP}CLIENT_CERTIFICATE": "c.pem", f"{OTLP}CLIENT_KEY": "k.pem"})
    assert (found.client_certificate, found.client_key) == (Path("c.pem"), Path("k.pem"))


@pytest.mark.parametrize(
    ("sampler", "argument", "ratio"),
    [
        ("always_on", None, 1.0),
        ("always_off", None, 0.0),
        ("traceidratio", "0.25", 0.25),
        ("traceidratio", None, 1.0),
        ("parentbased_always_on", "0.5", 1.0),
        ("parentbased_always_off", None, 0.0),
        ("parentbased_traceidratio", "1e-3", 0.001),
        (None, "0.25", None),
    ],
)
def test_a_sampler_is_a_ratio(sampler: str | None, argument: str | None, ratio: float | None) -> None:
    named = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument, f"{OTLP}ENDPOINT": HERE}
    assert read(**{name: value for name, value in named.items() if value is not None}).sample_ratio == ratio


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {f"{OTLP}ENDPOINT": "https://elsewhere:1", f"{OTLP}TRACES_ENDPOINT": "https://elsewhere:2"},
        {"OTEL_SDK_DISABLED": "true"},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "otlp"},
        {f"{OTLP}PROTOCOL": "http/protobuf"},
    ],
)
@pytest.mark.parametrize("url", ["http://mine:4317", "mine:4317"])
def test_the_collector_that_an_operator_names_wins(url: str, variables: dict[str, str]) -> None:
    assert read(otlp=url, **variables) == ExportSettings(Endpoint("mine:4317"), Endpoint("mine:4317"))


@pytest.mark.parametrize("exporters", ["none", "prometheus"])
def test_the_collector_that_an_operator_names_gets_no_metrics_where_they_are_left_out(exporters: str) -> None:
    found = read(otlp="http://mine:4317", OTEL_METRICS_EXPORTER=exporters)
    assert (found.traces, found.metrics) == (Endpoint("mine:4317"), None)


def test_the_collector_that_an_operator_names_is_sent_the_headers_of_the_variables() -> None:
    found = read(otlp="https://mine:4317", **{f"{OTLP}HEADERS": "api-key=secret", f"{OTLP}COMPRESSION": "gzip"})
    assert found.traces == Endpoint("mine:4317", True, headers=(("api-key", "secret"),), is_compressed=True)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        (f"{OTLP}ENDPOINT", "ftp://collector", "'ftp://collector' is not a URL of a collector"),
        (f"{OTLP}ENDPOINT", "http://", "'http://' is not a URL of a collector"),
        (f"{OTLP}ENDPOINT", "http://collector:port", "'http://collector:port' is not a URL"),
        (f"{OTLP}ENDPOINT", "http://a b:4317", "'http://a b:4317' is not a URL of a collector"),
        (f"{OTLP}TRACES_ENDPOINT", "http://:4317", "'http://:4317' is not a URL of a collector"),
        (f"{OTLP}PROTOCOL", "http/protobuf", "usually 4317"),
        (f"{OTLP}TRACES_PROTOCOL", "http/json", "usually 4317"),
        (f"{OTLP}TIMEOUT", "ten", "'ten' is not a number of milliseconds"),
        (f"{OTLP}TIMEOUT", "10", "=10 is in milliseconds and too short"),
        (f"{OTLP}COMPRESSION", "zstd", "'zstd' is not a compression; use gzip or none"),
        (f"{OTLP}INSECURE", "yes", "'yes' is neither true nor false"),
        ("OTEL_SDK_DISABLED", "1", "'1' is neither true nor false"),
        ("OTEL_TRACES_EXPORTER", "otlp,console", "'console' is not an exporter"),
        ("OTEL_METRICS_EXPORTER", "statsd", "use otlp, none or prometheus"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote", "'jaeger_remote' is not a sampler"),
        ("OTEL_TRACES_SAMPLER_ARG", "2", "'2' is not a share of traces; use a number from 0 to 1"),
        ("OTEL_TRACES_SAMPLER_ARG", "nan", "'nan' is not a share of traces"),
        (f"{OTLP}CLIENT_KEY", "k.pem", f"{OTLP}CLIENT_CERTIFICATE is not set"),
    ],
)
def test_a_bad_value_is_an_error_that_names_the_variable(name: str, value: str, says: str) -> None:
    variables = {"OTEL_TRACES_SAMPLER": "traceidratio", f"{OTLP}ENDPOINT": "collector:4317", name: value}
    with pytest.raises(ValueError) as raised:
        read(**variables)
    assert name.removeprefix(OTLP).removesuffix("_KEY") in str(raised.value)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (f"{OTLP}HEADERS", "hunter2"),
        (f"{OTLP}HEADERS", "a=b,Bearer hunter2"),
        (f"{OTLP}HEADERS", "my key=hunter2"),
        (f"{OTLP}HEADERS", "grpc-timeout=hunter2"),
        (f"{OTLP}HEADERS", "key-bin=hunter2"),
        (f"{OTLP}HEADERS", "key=hunter2%0a"),
        (f"{OTLP}TRACES_HEADERS", "key=hunter2ö"),
        (f"{OTLP}ENDPOINT", "https://user:hunter2@collector:4317"),
        (f"{OTLP}ENDPOINT", "https://user:hunter2@collector:port"),
    ],
)
def test_no_error_shows_a_secret(name: str, value: str) -> None:
    with pytest.raises(ValueError) as raised:
        read(**{f"{OTLP}ENDPOINT": HERE, name: value})
    assert name in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_settings_can_be_printed_without_showing_secrets() -> None:
    assert "hunter2" not in repr(read(**{f"{OTLP}ENDPOINT": HERE, f"{OTLP}HEADERS": "api-key=hunter2"}))
