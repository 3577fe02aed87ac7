"""The example service: a sign-up over HTTP, confirmed by a signal."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from examples import service
from holdfast.testing import run_local

ADA = "ada@example.org"


@pytest.fixture(autouse=True)
def _no_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "outbox", [])


@pytest.fixture
async def http(open_directory: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """The application as a web server runs it, with its data in an empty directory."""
    monkeypatch.chdir(open_directory)
    monkeypatch.delenv("HOLDFAST_ADDRESS", raising=False)
    transport = httpx.ASGITransport(app=service.app)
    async with (
        service.connected(service.app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as asking,
    ):
        yield asking


@pytest.mark.feature("F32", "F93", "F94")
async def test_a_sign_up_is_confirmed_by_its_link_once(http: httpx.AsyncClient) -> None:
    assert (await http.post(f"/confirm/{ADA}")).status_code == 404
    started = await http.post("/api/sign_up", json={"email": ADA})
    assert (started.status_code, started.json()["id"]) == (202, f"sign-up-{ADA}")
    assert (await http.post(f"/confirm/{ADA}")).json() == {"first": True}
    assert await service.app.state.client.get(f"sign-up-{ADA}").result(timeout=20) == "confirmed"
    report = (await http.get(f"/api/sign_up/sign-up-{ADA}")).json()
    assert (report["status"], report["result"]) == ("completed", "confirmed")
    assert service.outbox == [f"{ADA}: please confirm", f"{ADA}: welcome"]
    assert (await http.post(f"/confirm/{ADA}")).json() == {"first": False}
    again = (await http.post("/api/sign_up", json={"email": ADA})).json()
    assert (again["status"], again["run_id"]) == ("attached", started.json()["run_id"])


async def test_who_does_not_confirm_is_reminded_once() -> None:
    run = await run_local(service.sign_up, ADA)
    assert run.value() == "expired"
    assert run.took.days == 3
    mails = ["please confirm", "please confirm soon", "the link is no longer valid"]
    assert service.outbox == [f"{ADA}: {text}" for text in mails]


async def test_the_reminder_helps() -> None:
    run = await run_local(service.sign_up, ADA, signals=[("confirmed", None, "30h")])
    assert run.value() == "confirmed"
    assert service.outbox[1:] == [f"{ADA}: please confirm soon", f"{ADA}: welcome"]


@pytest.mark.feature("F94")
async def test_the_link_of_an_expired_sign_up_is_gone(http: httpx.AsyncClient) -> None:
    await http.post("/api/sign_up", json={"email": ADA})
    await service.app.state.client.get(f"sign-up-{ADA}").terminate()
    assert (await http.post(f"/confirm/{ADA}")).status_code == 410
