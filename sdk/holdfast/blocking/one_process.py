"""Everything in one process, for a program without asyncio."""

import asyncio
import contextlib
import os
from collections.abc import Iterator
from typing import Any

from holdfast.blocking.background import BackgroundLoop
from holdfast.blocking.client import Client, named_client, restore_default
from holdfast.channel.connection import check_not_forked
from holdfast.one_process import Embedded


@contextlib.contextmanager
def embedded(directory: "str | os.PathLike[str]" = ".holdfast/postgres", **options: Any) -> Iterator[Client]:
    """A coordinator, its Postgres and a worker in this process, without asyncio: `with embedded("./data") as client:`.

    All of it runs in a background thread. Inside the block the client is the default one of `holdfast.blocking`. Takes
    the options of `holdfast.embedded` and raises as that does.
    """
    check_not_forked()
    background = BackgroundLoop()
    try:
        closing: list[asyncio.Task[None]] = []

        def failed(_: BaseException) -> None:
            # Whoever waits for a run gets an error; what it was is raised at the end of the block.
            closing.append(asyncio.get_running_loop().create_task(client.asynchronous.close()))

        everything = Embedded(os.fspath(directory), **options, on_failure=failed)
        client = Client(background, background.call(everything.__aenter__()))
        before = named_client()
        client.as_default()
        try:
            yield client
        finally:
            restore_default(before)
            background.call(everything.__aexit__(None, None, None))
    finally:
        background.stop()
