"""Runs the Python blocks of one page in order, in one namespace, with `await` at the top level.

A program of its own, so that pages share no names: `python -m tests.docs.run_page PAGE`, in a directory where the
files of the page are. With HOLDFAST_ADDRESS a worker for the workflows of those files runs beside.
"""

import ast
import asyncio
import importlib
import inspect
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from holdfast import Client, Worker
from holdfast.authoring.apps import default_app

from . import pages


async def run_page(page: str) -> None:
    """Raises what a block raises; the traceback has the lines of the page."""
    sys.path.insert(0, str(Path.cwd()))
    found = pages.blocks(page, "python")
    files = [block.file_name for block in found if block.file_name]
    async with AsyncExitStack() as stack:
        for name in files:
            if not name.startswith("test_"):
                importlib.import_module(name.removesuffix(".py"))
        if "HOLDFAST_ADDRESS" in os.environ:
            worker = Worker(await stack.enter_async_context(Client.connect()), workflows=[default_app])
            running = asyncio.create_task(worker.run())
            stack.push_async_callback(asyncio.wait, (running,))
            stack.callback(worker.stop)
            await worker.ready()
        names = {"__name__": "page"}
        for block in found:
            if block.file_name is None:
                await _run(block, page, names)


async def _run(block: pages.Block, page: str, names: dict[str, str]) -> None:
    source = "\n" * (block.line - 1) + block.text
    code = compile(source, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    result = eval(code, names)
    if inspect.iscoroutine(result):
        await result


if __name__ == "__main__":
    asyncio.run(run_page(sys.argv[1]))
