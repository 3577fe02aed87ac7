"""Whose cancellation a CancelledError is: gRPC raises one too, for a call whose connection was closed on this side."""

import asyncio


def is_task_cancelled() -> bool:
    """True when the running task itself was cancelled. If not, its owner must not take the call's end for that."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
