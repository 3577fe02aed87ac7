"""Steps and a workflow by decorators, in one process. Run it twice: the second time nothing is executed again."""

import asyncio

import holdfast
from holdfast import step, workflow


@step(retries=3, backoff="5s")
async def fetch(source: str) -> list[int]:
    return [len(source), 2, 3]


@step
def total(numbers: list[int]) -> int:
    return sum(numbers)


@workflow(id="report-{source}")
async def report(source: str) -> int:
    return await total(await fetch(source))


async def main() -> None:
    async with holdfast.embedded("./data"):
        print(await report("users"))


if __name__ == "__main__":
    asyncio.run(main())
