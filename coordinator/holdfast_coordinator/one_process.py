"""A coordinator inside the process of its user: `holdfast.embedded` finds this by its entry point."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from .app import Coordinator, coordinator
from .config import Config
from .logs import only_errors_of_ours


@asynccontextmanager
async def serve_alone(directory: Path) -> AsyncIterator[Coordinator]:
    """Serves from a Postgres of its own with its data in `directory`, as long as the block runs.

    Of the variables HOLDFAST_* those count that do not say where it listens or which database it has.
    """
    config = Config(
        database_url=None, embedded=True, data_directory=directory, ephemeral=False, doorbell=False, host="127.0.0.1",
        port=0, advertise=None, metrics_port=None, namespaces=("default",),
    )  # fmt: skip
    # Whose session died is no news to a program that is started again.
    with only_errors_of_ours():
        async with coordinator(config, alone=True) as running:
            yield running
