"""Workflows whose failures, results and waits are looked at in the output of programs."""

from holdfast import App, constant, sleep

app = App("output", backoff=constant(0))


@app.step(retries=1)
async def charge_card(order_id: str) -> None:
    raise ConnectionError(f"no bank for {order_id}")


@app.step(retries=1, placement="queued")
async def send_parcel(order_id: str) -> None:
    raise ConnectionError(f"no van for {order_id}")


@app.workflow
async def pays(order_id: str) -> None:
    await charge_card(order_id)


@app.workflow
async def sends(order_id: str) -> None:
    await send_parcel(order_id)


@app.workflow(id="order-{order_id}")
async def order(order_id: str) -> str:
    return f"{order_id} done"


@app.workflow
async def waits_long() -> None:
    await sleep("1h")
