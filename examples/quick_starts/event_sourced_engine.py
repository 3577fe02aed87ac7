"""A run that waits for a person, and the events that it left. Killed and started again, it goes on."""

import asyncio

import holdfast
from holdfast import step, workflow


@step
async def publish(text: str, editor: str) -> str:
    return f"{text!r}, approved by {editor}"


@workflow(id="article-{number}")
async def article(number: int, text: str) -> str:
    editor = await holdfast.receive("approve", str, timeout="3d")
    await holdfast.sleep("1s")
    return await publish(text, editor)


async def main() -> None:
    async with holdfast.embedded("./data") as client:
        run = await client.start(article, 1, "Hello")
        await run.signal("approve", "Ada", once=True)  # once, also when this is started again
        print(await run.result())
        for entry in await run.history():
            print(entry.number, entry.type)


if __name__ == "__main__":
    asyncio.run(main())
