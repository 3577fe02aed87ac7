"""Workflows whose traces are compared with drawings. Run by workers in the test's process and in others.

With OTEL_EXPORTER_OTLP_ENDPOINT set, the process traces its steps with OpenTelemetry's SDK, as a user sets it up.
FLOWS_VERSION=2 stands for a deployment whose steps do not hold on to anything.
"""

import asyncio
import os
from contextlib import AbstractContextManager

from opentelemetry import trace

import holdfast
from holdfast import App, Context, constant, receive, sleep
from tests.support.ledger import may_go, note, until_let_go

app = App("traces")

VERSION = int(os.environ.get("FLOWS_VERSION", "1"))
CHARGE_SECONDS = 0.1
RETRY_SECONDS = 0.3


def trace_this_process(service: str) -> None:
    """Sets up OpenTelemetry for the whole process; its usual variables say where spans go, and how soon."""
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


if "OTEL_EXPORTER_OTLP_ENDPOINT" in os.environ:
    trace_this_process(os.environ["OTEL_SERVICE_NAME"])


def user_span(name: str) -> AbstractContextManager[trace.Span]:
    """A span of the user's own, of whatever provider the process has by now."""
    return trace.get_tracer("shop").start_as_current_span(name)


class CardDeclined(Exception):
    """The bank says no."""


@app.step(retries=3, backoff=constant(RETRY_SECONDS))
async def charge(order: str, ctx: Context[None]) -> str:
    with user_span("ask the bank"):
        await asyncio.sleep(CHARGE_SECONDS)
    if ctx.attempt < 3:
        raise CardDeclined("no funds")
    return order


@app.workflow
async def pays(order: str) -> str:
    return await charge(order)


@app.step(retries=1, backoff=constant(1.2))
async def charge_later(ctx: Context[None]) -> None:
    if ctx.attempt == 1:
        raise CardDeclined("no funds")


@app.workflow
async def pays_later() -> None:
    await charge_later()


@app.step(timeout=0.2, retries=1, backoff=constant(0))
async def slow() -> None:
    await asyncio.sleep(30)


@app.workflow
async def too_slow() -> None:
    await slow()


@app.step(placement="queued", retries=1, backoff=constant(0.2))
async def render(ctx: Context[None]) -> str:
    with user_span("draw"):
        if ctx.attempt == 1:
            raise OSError("no paper")
    return "picture"


@app.workflow
async def renders(queue: str) -> str:
    return await render.with_options(queue=queue)()


@app.step
async def fetch(ledger: str) -> str:
    with user_span("read the shelf"):
        note(ledger, "fetch")
    return "goods"


@app.step(retries=0)
async def pack(ledger: str) -> str:
    with user_span("fold the box"):
        note(ledger, "pack")
    if VERSION == 1:
        await until_let_go(ledger)
    return "packed"


@app.workflow
async def ships(ledger: str) -> str:
    return f"{await fetch(ledger)} {await pack(ledger)}"


@app.workflow
async def approval() -> str:
    answer = await receive("approval", str)
    try:
        await receive("gift", timeout=0.1)
    except TimeoutError:
        await sleep(0.05, name="grace")
    return answer


@app.step
async def double(x: int) -> int:
    return x * 2


@app.workflow
async def child(x: int) -> int:
    return await double(x)


@app.workflow
async def parent(x: int) -> int:
    return await child(x) + 1


@app.workflow
async def rests() -> None:
    await double(1)
    await sleep("1h")


@app.workflow(max_duration=1)
async def past_its_deadline() -> None:
    await sleep("1h")


@app.step(retries=0)
async def box(ledger: str) -> str:
    if not may_go(ledger):
        raise CardDeclined("no funds")
    return "boxed"


@app.workflow
async def boxes(ledger: str) -> str:
    await double(2)
    return await box(ledger)


@app.workflow
async def seldom(ledger: str) -> str:
    return await box(ledger)


@app.workflow
async def checkout() -> int:
    with holdfast.span("checkout"):
        with holdfast.span("payment"):
            paid = await double(10)
        try:
            with holdfast.span("packing"):
                raise CardDeclined("no box")
        except CardDeclined:
            return paid
    return 0


replays = 0


@app.workflow
async def naps(times: int) -> int:
    global replays
    replays += 1
    with holdfast.span("all naps"):
        total = await double(times)
        for _ in range(times):
            with user_span("before a nap"):
                pass
            await sleep(0.001)
    return total


@app.workflow
async def two_signals(ledger: str) -> str:
    first = await fetch(ledger)
    await receive("go on")
    return f"{first} {await double(4)}"


@app.workflow
async def load(steps: int) -> int:
    return sum([await double(number) for number in range(steps)])
