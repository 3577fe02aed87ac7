"""Fixtures of the tests of the engine."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _plain_tracebacks() -> Iterator[None]:
    """Logs tracebacks without the values of variables, which take seconds to print."""
    configured = structlog.get_config()
    structlog.configure(processors=[structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)])
    yield
    structlog.configure(**configured)
