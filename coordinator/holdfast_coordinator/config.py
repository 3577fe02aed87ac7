"""The configuration of a coordinator: options, then HOLDFAST_* variables, then defaults."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from holdfast.durations import parse_duration
from holdfast.ids import is_printable
from holdfast.limits import DEFAULT_LIMITS, DEFAULT_PORT, NAME_MAX
from holdfast_coordinator.store.database_url import checked_database_url
from holdfast_coordinator.telemetry.spans import SPANS_MAX

SEGMENT_MIN = timedelta(minutes=1)
DRAIN_MAX = timedelta(hours=1)
CONNECTION_AGE_MIN, CONNECTION_AGE_MAX = timedelta(seconds=1), timedelta(days=1)
_PORTS = ("port", "metrics_port")


def _is_service_link(name: str, value: object) -> bool:
    return name in _PORTS and isinstance(value, str) and "://" in value


class Config(BaseSettings):
    """Everything that can be set. Each field is also the variable HOLDFAST_<NAME>."""

    # An empty variable is one that is not set: compose files and charts write NAME= for "nothing".
    model_config = SettingsConfigDict(env_prefix="HOLDFAST_", extra="ignore", frozen=True, env_ignore_empty=True)

    database_url: str | None = Field(default=None, description="Postgres to use")
    embedded: bool = Field(default=False, description="serve brings its own Postgres instead")
    data_directory: Path | None = Field(default=None, description="where the embedded Postgres keeps its data")
    ephemeral: bool = Field(default=False, description="embedded Postgres in a directory that is removed at the end")
    doorbell: bool = Field(default=True, description="whether replicas notify each other at once of what they did")
    host: str = Field(default="127.0.0.1", description="the address to listen on")
    port: int = Field(default=DEFAULT_PORT, ge=0, le=65_535, description="the port to listen on; 0 takes a free one")
    advertise: str | None = Field(
        default=None, description="host:port at which workers reach this very replica; else --host, where it is one"
    )
    namespaces: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("default",), description="namespaces to create, separated by commas"
    )
    session_ttl: str = Field(default="10s", description="how long a worker may be silent before it is dead")
    drain: str = Field(default="0s", description="how long it serves on after SIGTERM")
    connection_age: str = Field(default="10m", description="age at which connections are ended, about, to spread them")
    connections_max: int = Field(
        default=4_000, ge=16, le=1_000_000, description="connections it serves at a time; more are hung up on at once"
    )
    poll_wait: str = Field(default="30s", description="how long a poll of a worker is held")
    payload_bytes_max: int = Field(default=DEFAULT_LIMITS.payload_bytes, ge=1_024, description="the largest payload")
    journal_entries_max: int = Field(
        default=DEFAULT_LIMITS.journal_entries, ge=100, le=10_000_000, description="entries of a journal; then it fails"
    )
    journal_entries_warn: int = Field(
        default=DEFAULT_LIMITS.journal_entries_warn, ge=10, description="entries of a journal that is warned of"
    )
    journal_bytes_max: int = Field(
        default=DEFAULT_LIMITS.journal_bytes, ge=1024 * 1024, description="bytes of a journal; then its run fails"
    )
    journal_bytes_warn: int = Field(
        default=DEFAULT_LIMITS.journal_bytes_warn, ge=1024, description="bytes of a journal that is warned of"
    )
    nesting_max: int = Field(
        default=DEFAULT_LIMITS.nesting, ge=1, le=1_000, description="how many runs may be above a child run"
    )
    otlp: str | None = Field(
        default=None, description="collector that gets spans and metrics by OTLP/gRPC; else OTEL_* variables name it"
    )
    trace_ratio: float | None = Field(
        default=None, ge=0, le=1, description="share of runs that are sampled; else OTEL_TRACES_SAMPLER, else all"
    )
    trace_ratios: Annotated[dict[str, float], NoDecode] = Field(
        default={}, description="the same for a namespace or namespace/workflow: shop=0.1,shop/order=1"
    )
    trace_export_on: Literal["failure", "never"] = Field(
        default="failure", description="when runs that were not sampled are exported: failure or never"
    )
    trace_segment: str = Field(default="24h", description="how much of a run one trace covers, for new runs")
    trace_spans_max: int = Field(
        default=SPANS_MAX, ge=1, description="spans of a run that are exported; beyond it only failures are"
    )
    trace_messages: bool = Field(default=True, description="whether spans show the texts of errors")
    trace_baggage: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="keys of a caller's baggage that a run keeps, separated by commas"
    )
    trace_relay_age: str = Field(default="24h", description="spans of runs that closed longer ago are given up")
    trace_relay_runs: int = Field(
        default=100_000, ge=1, description="how many closed runs wait to be exported; the oldest of more are given up"
    )
    metrics_port: int | None = Field(
        default=None, ge=0, le=65_535, description="serves metrics to Prometheus there; 0 takes a free port"
    )
    rpc_spans: bool = Field(default=False, description="a span of each call of a client that traces its calls")
    log_json: bool = Field(default=False, description="one JSON object per log line")
    log_level: str = Field(default="info", description="debug, info, warning or error")

    @model_validator(mode="before")
    @classmethod
    def _without_service_links(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Leaves out what Kubernetes sets for a service called `holdfast`: HOLDFAST_PORT=tcp://10.0.0.1:7410."""
        return {name: value for name, value in values.items() if not _is_service_link(name, value)}

    @field_validator("namespaces", "trace_baggage", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(name for name in value.replace(",", " ").split()) if isinstance(value, str) else value

    @field_validator("namespaces")
    @classmethod
    def _are_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not name or len(name) > NAME_MAX or not is_printable(name):
                raise ValueError(f"a namespace has 1 to {NAME_MAX} printable characters")
        return value

    @field_validator("advertise")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        host, _, port = value.rpartition(":")
        if not (host and port.isascii() and port.isdecimal() and 0 < int(port) <= 65_535):
            raise ValueError("give the host and the port at which workers reach this replica, such as 10.0.0.7:7410")
        # A variable put together from an address of IPv6 and a port has no brackets.
        return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else value

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, value: str | None) -> str | None:
        return value if value is None else checked_database_url(value)

    @field_validator("trace_ratios", mode="before")
    @classmethod
    def _split_ratios(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [pair.rpartition("=") for pair in value.replace(",", " ").split()]
        if any(not name for name, _, _ in pairs):
            raise ValueError("give pairs such as shop=0.1,shop/order=1")
        return {name: ratio for name, _, ratio in pairs}

    @field_validator("trace_ratios")
    @classmethod
    def _are_ratios(cls, value: dict[str, float]) -> dict[str, float]:
        for name, ratio in value.items():
            if not 0 <= ratio <= 1:
                raise ValueError(f"the ratio of {name} must be from 0 to 1")
        return value

    @field_validator("session_ttl", "poll_wait", "drain", "connection_age", "trace_segment", "trace_relay_age")
    @classmethod
    def _is_duration(cls, value: str) -> str:
        parse_duration(value)
        return value

    @field_validator("drain")
    @classmethod
    def _is_short_enough(cls, value: str) -> str:
        if not timedelta(0) <= parse_duration(value) <= DRAIN_MAX:
            raise ValueError("a replica serves on for at most an hour after SIGTERM")
        return value

    @field_validator("connection_age")
    @classmethod
    def _is_worth_connecting(cls, value: str) -> str:
        if not CONNECTION_AGE_MIN <= parse_duration(value) <= CONNECTION_AGE_MAX:
            raise ValueError("connections live for at least one second and at most a day")
        return value

    @field_validator("trace_segment")
    @classmethod
    def _is_long_enough(cls, value: str) -> str:
        if parse_duration(value) < SEGMENT_MIN:
            raise ValueError("a trace covers at least one minute of a run")
        return value

    @field_validator("log_level")
    @classmethod
    def _is_level(cls, value: str) -> str:
        if value.lower() not in ("debug", "info", "warning", "error"):
            raise ValueError(f"{value!r} is not a log level: debug, info, warning or error")
        return value.lower()
