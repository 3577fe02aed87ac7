"""Tasks that depend on each other; those that can run at once do."""

import asyncio

import holdfast
from holdfast import Graph

etl = Graph("etl")


@etl.task
def extract() -> list[int]:
    return [1, 2, 3]


@etl.task
def double(extract: list[int]) -> list[int]:
    return [2 * number for number in extract]


@etl.task(retries=2)
async def count(extract: list[int]) -> int:
    return len(extract)


@etl.task
def report(double: list[int], count: int) -> str:
    return f"{count} numbers, {sum(double)} when doubled"


async def main() -> None:
    async with holdfast.embedded("./data"):
        print(await etl())


if __name__ == "__main__":
    print(etl.display())
    asyncio.run(main())
