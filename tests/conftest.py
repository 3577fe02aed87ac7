"""Fixtures of all tests: one Postgres per test process, one database per test or module."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from holdfast_coordinator.postgres import EmbeddedPostgres
from tests.support.databases import DatabasePool
from tests.support.several_processes import (
    pytest_collection_modifyitems,
    pytest_report_to_serializable,
    pytest_runtest_protocol,
)

__all__ = ["pytest_collection_modifyitems", "pytest_report_to_serializable", "pytest_runtest_protocol"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in a shell's background: the programs that tests interrupt would inherit that, and never end.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """An ephemeral Postgres for all tests of this process."""
    with EmbeddedPostgres(None) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres_server: EmbeddedPostgres) -> str:
    """The superuser's URL of the session's Postgres."""
    return postgres_server.url(database="postgres", role="postgres")


@pytest.fixture(scope="session")
def databases(postgres_server: EmbeddedPostgres) -> DatabasePool:
    """The databases of the session's Postgres."""
    return DatabasePool(postgres_server)


@pytest.fixture
def database(databases: DatabasePool) -> Iterator[str]:
    """The URL of a migrated database without rows."""
    with databases.migrated() as url:
        yield url


@pytest.fixture(scope="module")
def module_database(databases: DatabasePool) -> Iterator[str]:
    """The URL of a migrated database without rows that the tests of one module share."""
    with databases.migrated() as url:
        yield url


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """An empty directory that every user can enter. pytest's own are for one user, and Postgres is not root."""
    with tempfile.TemporaryDirectory(prefix="holdfast-test-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture
def empty_database(databases: DatabasePool) -> Iterator[str]:
    """The URL of a fresh database without anything in it."""
    with databases.empty() as url:
        yield url


@pytest.fixture
def user_spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """A program that has set up OpenTelemetry: the finished spans of this process, in memory."""
    provider, finished = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(finished))
    # The API lets a program set its provider once and for all; the tests of one process are many programs.
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield finished
    provider.shutdown()
