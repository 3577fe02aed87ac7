"""holdfast's own OpenTelemetry tracer. Only the API is used: spans are made where the program has set up an SDK."""

from opentelemetry import trace

NAME = "holdfast"

_found: tuple[trace.TracerProvider, trace.Tracer] | None = None


def tracer() -> trace.Tracer | None:
    """The tracer of the program's tracer provider; None when it has none, which costs half a microsecond to learn."""
    global _found
    provider = trace.get_tracer_provider()
    if isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider)):
        return None
    # Kept, since to make one takes longer than a span does; compared, since a provider may be set at any time.
    if _found is None or _found[0] is not provider:
        _found = provider, provider.get_tracer(NAME, _version())
    return _found[1]


def _version() -> str:
    # Imported late: it takes longer than all of OpenTelemetry's API, and most programs trace nothing.
    from importlib.metadata import version

    return version(NAME)
