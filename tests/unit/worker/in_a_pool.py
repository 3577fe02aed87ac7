"""A plain step that the processes of a pool import by its name."""

import os

from opentelemetry.propagate import inject

from holdfast.authoring.apps import App

app = App("pool")


@app.step
def process_id() -> int:
    return os.getpid()


@app.step
def trace_headers() -> dict[str, str]:
    headers: dict[str, str] = {}
    inject(headers)
    return headers
