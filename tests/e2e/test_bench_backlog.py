"""The runs that a benchmark copies in SQL are runs like any other: sound rows, which workers take and complete."""

import asyncio

import pytest

from benchmarks.backlog import fill
from holdfast import App
from holdfast.client import Client

from .conftest import WorkerFactory

pytestmark = pytest.mark.asyncio(loop_scope="module")

COPIES = 40

app = App("bench_backlog")


@app.workflow
async def said(word: str) -> str:
    return word


async def test_copies_of_a_run_that_nobody_takes_are_completed_by_a_worker_of_their_queue(
    client: Client, module_database: str, worker: WorkerFactory, queue: str
) -> None:
    original = await client.start(said.with_options(queue=f"not {queue}"), "word")
    for first in (0, COPIES // 2):
        await asyncio.to_thread(fill, module_database, original.run_id, queue, first=first, count=COPIES // 2)
    listed = await client.list(workflow=said)
    copies = [run.run_id for run in listed.runs if run.run_id != original.run_id]
    assert len(copies) == COPIES
    async with worker(workflows=[app]):
        assert await client.wait_many(copies, timeout=30) == ["word"] * COPIES
    await original.terminate()
