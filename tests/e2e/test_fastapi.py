"""Workflows as routes of a FastAPI application, asked over HTTP, with a coordinator and a worker behind it."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from pydantic import BaseModel

import holdfast
from holdfast import App
from holdfast.client import Client
from holdfast.contrib.fastapi import router

from .conftest import WorkerFactory

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.feature("F32")]

QUEUE = "over-http"
app = App("over-http", queue=QUEUE)


class Address(BaseModel):
    city: str


@app.step
async def charge(order_id: str, amount: Decimal) -> str:
    return f"{order_id}: {amount}"


@app.workflow(id="http-{order_id}", queue=QUEUE)
async def order(order_id: str, amount: Decimal, address: Address | None = None, /, *, model_config: int = 3) -> str:
    """Charges an order."""
    city = address.city if address else "nowhere"
    return f"{await charge(order_id, amount)} to {city} {model_config}"


@app.workflow(queue=QUEUE)
async def waits() -> None:
    await holdfast.receive("never")


@app.workflow(queue=QUEUE)
async def takes_anything(*args: int) -> None: ...


@pytest_asyncio.fixture(loop_scope="module")
async def http(client: Client, worker: WorkerFactory) -> AsyncIterator[httpx.AsyncClient]:
    """The routes of two workflows, below "/v1", with a worker behind them."""
    served = FastAPI()
    served.include_router(router(order, waits, client=lambda: client), prefix="/v1")
    transport = httpx.ASGITransport(app=served)
    async with (
        worker(queue=QUEUE, workflows=[app]),
        httpx.AsyncClient(transport=transport, base_url="http://test") as asking,
    ):
        yield asking


async def started(http: httpx.AsyncClient, name: str = "order", /, **body: Any) -> dict[str, Any]:
    answer = await http.post(f"/v1/api/{name}", json=body)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_post_starts_a_run_and_says_its_ids(http: httpx.AsyncClient, client: Client) -> None:
    answer = await http.post("/v1/api/order", json={"order_id": "123", "amount": 99.99, "address": {"city": "Rome"}})
    said = answer.json()
    assert (answer.status_code, said["status"], said["id"], said["workflow"]) == (202, "started", "http-123", "order")
    assert answer.headers["location"] == f"/v1/api/order/{said['run_id']}"
    assert await client.get(said["run_id"]).result(timeout=10) == "123: 99.99 to Rome 3"
    report = (await http.get(answer.headers["location"])).json()
    assert (report["status"], report["result"], report["error"]) == ("completed", "123: 99.99 to Rome 3", None)
    assert [(task["step"], task["status"]) for task in report["tasks"]] == [("charge", "completed")]


async def test_the_same_id_is_the_same_run_and_other_arguments_are_a_conflict(http: httpx.AsyncClient) -> None:
    first = await started(http, order_id="a", amount="1", model_config=7)
    again = await started(http, order_id="a", amount="1", model_config=7)
    assert (first["status"], again["status"], again["run_id"]) == ("started", "attached", first["run_id"])
    other = await http.post("/v1/api/order", json={"order_id": "a", "amount": "2"})
    assert other.status_code == 409
    assert first["run_id"] in other.json()["detail"]


async def test_an_idempotency_key_makes_repeats_the_same_run(http: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "key-1"}
    runs = [(await http.post("/v1/api/waits", headers=key)).json() for _ in range(2)]
    assert [run["status"] for run in runs] == ["started", "attached"]
    assert runs[0]["run_id"] == runs[1]["run_id"]
    assert (await http.post("/v1/api/waits", headers={"Idempotency-Key": "x" * 999})).status_code == 422


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"amount": 1}, "order_id"),
        ({"order_id": "1", "amount": "much"}, "amount"),
        ({"order_id": "1", "amount": 1, "colour": "red"}, "colour"),
        ({"order_id": "1", "amount": 1, "address": {"town": "Rome"}}, "city"),
    ],
)
async def test_a_body_that_does_not_fit_is_refused_and_the_field_is_named(
    http: httpx.AsyncClient, client: Client, body: dict[str, Any], field: str
) -> None:
    before = len(await client.list(limit=1_000))
    answer = await http.post("/v1/api/order", json=body)
    assert answer.status_code == 422
    assert [error["loc"][-1] for error in answer.json()["detail"]] == [field]
    assert len(await client.list(limit=1_000)) == before


async def test_a_delete_cancels_once(http: httpx.AsyncClient, client: Client) -> None:
    run_id = (await started(http, "waits"))["run_id"]
    first = await http.delete(f"/v1/api/waits/{run_id}", params={"reason": "changed my mind"})
    assert first.json() == {"run_id": run_id, "cancelled": True}
    with pytest.raises(holdfast.RunCancelled, match="changed my mind"):
        await client.get(run_id).result(timeout=10)
    assert (await http.delete(f"/v1/api/waits/{run_id}")).json()["cancelled"] is False
    assert (await http.get(f"/v1/api/waits/{run_id}")).json()["status"] == "cancelled"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_run_that_there_is_not_or_of_another_workflow_is_not_found(
    http: httpx.AsyncClient, client: Client, method: str
) -> None:
    of_another = (await started(http, "waits"))["run_id"]
    for run_id in ("nothing", of_another):
        answer = await http.request(method, f"/v1/api/order/{run_id}")
        assert answer.status_code == 404
        assert run_id in answer.json()["detail"]
    assert await client.get(of_another).status() in ("pending", "running", "suspended")
    await client.get(of_another).terminate()


async def test_the_openapi_page_describes_the_bodies(http: httpx.AsyncClient) -> None:
    page = (await http.get("/openapi.json")).json()
    assert page["paths"].keys() == {
        "/v1/api/order", "/v1/api/order/{run_id}", "/v1/api/waits", "/v1/api/waits/{run_id}",
    }  # fmt: skip
    schema = page["components"]["schemas"]["order_arguments"]
    assert schema["required"] == ["order_id", "amount"]
    assert set(schema["properties"]) == {"order_id", "amount", "address", "model_config"}
    assert page["paths"]["/v1/api/order"]["post"]["description"] == "Charges an order."


async def test_without_a_coordinator_a_caller_is_told_to_come_back() -> None:
    served = FastAPI()
    nowhere = await Client.connect("127.0.0.1:9", timeout=None, retry_for="100ms")
    served.include_router(router(waits, client=nowhere))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=served), base_url="http://test") as asking:
        answer = await asking.post("/api/waits")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    await nowhere.close()


async def test_what_no_routes_can_be_made_for_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match=r"takes_anything takes \*args or \*\*kwargs"):
        router(takes_anything)
    with pytest.raises(TypeError, match="router\\(\\) takes workflows, not <step charge"):
        router(charge)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="router\\(\\) takes workflows: "):
        router()
