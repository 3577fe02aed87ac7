"""How many lines of Python are on this machine? Thousands of steps in one run, or a run of its own for each file.

    python -m examples.fan_out

Killed half-way and started again, it counts only the files that were not counted yet. Its data are in ./fan_out_data.
"""

import asyncio
import sysconfig
import time
from pathlib import Path

import holdfast
from holdfast import step, workflow

ID_CHARACTERS_MAX = 200
"""Of a business id. Files with longer paths are left out."""


@step
def python_files(folders: list[str], at_most: int) -> list[str]:
    """Of the folders and those below them, in order. What the machine looks like is asked once, so this is a step."""
    found = {str(path) for folder in folders for path in Path(folder).rglob("*.py") if path.is_file()}
    return sorted(path for path in found if len(f"lines-of-{path}") <= ID_CHARACTERS_MAX)[:at_most]


@step
def lines_of(path: str) -> int:
    with open(path, "rb") as file:
        return sum(1 for _ in file)


@workflow(id="lines-of-all")
async def lines_of_all(folders: list[str], at_most: int = 3_000) -> tuple[int, int]:
    """Files and their lines, counted by the steps of one run, 50 at a time."""
    paths = await python_files(folders, at_most)
    return len(paths), sum(await lines_of.map(paths, max_parallel=50))


@workflow(id="lines-of-{path}")
async def lines_of_one(path: str) -> int:
    """The lines of one file: an id for each, so a file that was counted is not counted again."""
    return await lines_of(path)


async def main(data: str, folders: list[str], at_most: int) -> None:
    async with holdfast.embedded(data, workflows=[lines_of_all, lines_of_one]) as client:
        began = time.perf_counter()
        files, lines = await lines_of_all(folders, at_most)
        print(f"one run: {lines:,} lines in {files:,} files, {time.perf_counter() - began:.1f} s")

        began = time.perf_counter()
        paths = await asyncio.to_thread(python_files.function, folders, at_most)
        runs = await client.start_many(lines_of_one, paths)
        lines = sum(await client.wait_many(runs))
        print(f"a run for each: {lines:,} lines in {len(runs):,} files, {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    asyncio.run(main("./fan_out_data", [sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")], at_most=3_000))
