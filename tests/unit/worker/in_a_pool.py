"""A plain step that the processes of a pool import by its name."""

import os

from holdfast.authoring.apps import App

app = App("pool")


@app.step
def process_id() -> int:
    return os.getpid()
