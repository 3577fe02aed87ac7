"""A workflow in Python whose step is executed by a worker in another language: node/worker.mjs or go/worker.go."""

from holdfast import receive, step, workflow


@step(placement="queued")
async def draw_cover(title: str, seconds: float) -> str:
    """What Python knows of the step: its name, its parameters and what it returns. The other worker has the code."""
    raise NotImplementedError("the worker of another language serves the queue of this step")


@workflow
async def publish(title: str, language: str, seconds: float = 0.0) -> str:
    """Has a cover drawn by the worker of a language, whose queue has its name, and waits for a person's word."""
    draw = draw_cover.with_options(queue=language, retries=2, backoff="200ms")
    cover = await draw(title, seconds)
    is_approved = await receive("approval", bool, timeout="1d")
    return cover if is_approved else f"{cover}, rejected"
