"""A workflow whose code ends the process that runs it, as a crash in a library of C does."""

import ctypes

from holdfast import App

app = App("flows_deadly")


@app.workflow
async def poison() -> None:
    ctypes.string_at(0)
