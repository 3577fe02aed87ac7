"""What a worker process with codecs runs."""

from holdfast import App, step

app = App("coded-processes")


@step
async def shout(text: str) -> str:
    return text.upper()


@app.workflow
async def shouts(text: str) -> str:
    return await shout(text)
