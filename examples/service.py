"""A sign-up service: POST starts a run, a mail is sent, and the link in it is a signal to the run.

    pip install 'holdfast[fastapi,server]' uvicorn
    uvicorn examples.service:app
    curl -X POST localhost:8000/api/sign_up --json '{"email": "ada@example.org"}'
    curl -X POST localhost:8000/confirm/ada@example.org
    curl localhost:8000/api/sign_up/sign-up-ada@example.org

It is all of holdfast in one process, with its data in ./service_data. With HOLDFAST_ADDRESS it is a client of that
coordinator, and the runs belong to workers: holdfast worker examples.service
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException

import holdfast
from holdfast import Client, RunAlreadyClosed, RunNotFound, step, workflow
from holdfast.contrib.fastapi import router

outbox: list[str] = []
"""Stands for the mail service."""


@step(retries=5)
async def send_mail(email: str, text: str) -> None:
    outbox.append(f"{email}: {text}")


@workflow(id="sign-up-{email}")
async def sign_up(email: str) -> str:
    """Asks for a confirmation, reminds once after a day, and gives up two days later."""
    await send_mail(email, "please confirm")
    for days in (1, 2):
        try:
            await holdfast.receive("confirmed", timeout=f"{days}d")
        except TimeoutError:
            await send_mail(email, "please confirm soon" if days == 1 else "the link is no longer valid")
        else:
            await send_mail(email, "welcome")
            return "confirmed"
    return "expired"


@asynccontextmanager
async def connected(app: FastAPI) -> AsyncIterator[None]:
    if "HOLDFAST_ADDRESS" in os.environ:
        connecting = Client.connect()
    else:
        connecting = holdfast.embedded("./service_data", workflows=[sign_up], steps=[send_mail])
    async with connecting as client:
        app.state.client = client
        yield


app = FastAPI(title="Sign-up", lifespan=connected)
app.include_router(router(sign_up, client=lambda: app.state.client))


@app.post("/confirm/{email}")
async def confirm(email: str) -> dict[str, bool]:
    """The link of the mail. `first` is false when it was followed before."""
    run = app.state.client.get(f"sign-up-{email}", sign_up)
    try:
        return {"first": await run.signal("confirmed", once=True)}
    except RunNotFound:
        raise HTTPException(404, f"{email} has not signed up") from None
    except RunAlreadyClosed:
        raise HTTPException(410, "the sign-up has ended") from None
