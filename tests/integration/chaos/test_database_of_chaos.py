"""The Postgres of a chaos run: what it says about its crashes is evidence that faults landed."""

from pathlib import Path

import pytest

from tests.chaos.database import Database

RECOVERED = "was not properly shut down"


@pytest.mark.timeout(300)
async def test_each_crash_of_the_database_is_in_its_log(open_directory: Path) -> None:
    async with Database(open_directory, disk_mb=0) as database:
        for crash in (1, 2, 3):
            await database.crash()
            assert database.has_ended is False
            await database.start()
            assert database.log.count(RECOVERED) == crash
