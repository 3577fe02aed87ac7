"""Fixtures of all tests: one Postgres per test session, one database per test."""

import itertools
import os
from collections.abc import Iterator

import psycopg
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from holdfast_coordinator.postgres import EmbeddedPostgres
from holdfast_coordinator.store.migrate import migrate_blocking

TEMPLATE = "holdfast_template"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """An ephemeral Postgres for the whole test session."""
    with EmbeddedPostgres(None) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres_server: EmbeddedPostgres) -> str:
    """The superuser's URL of the session's Postgres."""
    return postgres_server.url(database="postgres", role="postgres")


@pytest.fixture(scope="session")
def migrated_template(postgres_url: str, postgres_server: EmbeddedPostgres) -> str:
    """The name of a migrated database that databases of tests are copied from."""
    _create(postgres_url, TEMPLATE)
    migrate_blocking(postgres_server.url(database=TEMPLATE), cells=["00"])
    return TEMPLATE


@pytest.fixture
def database(postgres_url: str, postgres_server: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    """The URL of a fresh migrated database, dropped afterwards."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    _create(postgres_url, name, template=migrated_template)
    yield postgres_server.url(database=name)
    _drop(postgres_url, name)


@pytest.fixture(scope="module")
def module_database(postgres_url: str, postgres_server: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    """The URL of a fresh migrated database that the tests of one module share."""
    name = f"module_{os.getpid()}_{next(_numbers)}"
    _create(postgres_url, name, template=migrated_template)
    yield postgres_server.url(database=name)
    _drop(postgres_url, name)


@pytest.fixture
def empty_database(postgres_url: str, postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a fresh database without anything in it, dropped afterwards."""
    name = f"empty_{os.getpid()}_{next(_numbers)}"
    _create(postgres_url, name)
    yield postgres_server.url(database=name)
    _drop(postgres_url, name)


def _create(postgres_url: str, name: str, *, template: str = "template0") -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        # Measured on this template: 150 to 195 ms, against about 200 ms for the default strategy.
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER holdfast STRATEGY file_copy".encode())


def _drop(postgres_url: str, name: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def user_spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """A program that has set up OpenTelemetry: the finished spans of this process, in memory."""
    provider, finished = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(finished))
    # The API lets a program set its provider once and for all; the tests of one process are many programs.
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield finished
    provider.shutdown()
