"""A user's `mypy --strict` keeps the signatures of steps and workflows."""

import re
from pathlib import Path

import pytest
from mypy import api

USER_CODE = """
import asyncio
from decimal import Decimal
from typing import Any
import holdfast
from holdfast import blocking
from holdfast import App, Context, Graph, step, workflow, sleep, exponential

class Deps: ...
app = App("billing", retries=5, backoff=exponential(2))

@step(retries=3, backoff=exponential(base=2, max=60), timeout="30s", retry_on=[ValueError])
async def charge(order_id: str, amount: Decimal = Decimal(1)) -> int: return 1

@step
def render_pdf(receipt: int) -> bytes: return b""

@app.step("store")
async def store(ctx: Context[Deps], key: str) -> float: return 1.0

@app.step()
def load(ctx: Context[Deps], key: str) -> str: return ""

@step
async def anything(value: object) -> str: return ""

@step(name="untyped-json")
def json_data(value: dict[str, Any]) -> list[Any]: return []

g = Graph("onboarding", inputs={"user": str}, max_parallel=8)

@g.task
async def fetch_user(user: str) -> int: return 1

@g.task(deps=[fetch_user, "other"], retries=2, timeout="5s")
def mail(upstream: dict[str, Any], ctx: Context[Deps]) -> str: return str(ctx.region)

async def graph_calls() -> None:
    reveal_type(await fetch_user("ann"))                          # int
    reveal_type(await fetch_user.with_options(step_id="u")("a"))  # int
    reveal_type(await g("ann"))                                   # dict[str, Any]
    reveal_type(g.subgraph(["mail"]))                             # holdfast.graphs.graph.Graph
    await fetch_user(1)                                           # error: [arg-type]

@workflow(id="order-{order_id}", max_duration="7d")
async def order(order_id: str, amount: Decimal) -> str:
    receipt = await charge(order_id, amount)
    reveal_type(receipt)                                          # int
    pdf, kept = await asyncio.gather(render_pdf(receipt), store("k"))
    reveal_type(pdf)                                              # bytes | Any
    reveal_type(kept)                                             # float
    async with asyncio.TaskGroup() as group:
        task = group.create_task(load("k"))
    reveal_type(task.result())                                    # str | Any
    reveal_type(await anything(5))                                # str
    reveal_type(await json_data({}))                              # list[Any]
    reveal_type(await render_pdf.with_options(retries=5, step_id="item-3")(1))  # bytes
    reveal_type(await order("child", amount))                     # str
    reveal_type(await holdfast.receive("approval", int, timeout="3d"))  # int
    await sleep("1d", name="reminder")
    await holdfast.wait_until(lambda: receipt > 1, timeout="1h")
    @holdfast.on_signal("add")
    async def add(item: str) -> None: ...
    reveal_type(add)                                              # def (item: str) -> typing.Coroutine[Any, Any, None]
    async with holdfast.Saga() as saga:
        saga.add(load, "k")
        saga.add(print, "k", sep="")
        saga.add(load, 5)                                         # error: [arg-type]
    reveal_type(await render_pdf.map([1, 2], max_parallel=8))     # list[bytes]
    reveal_type(await charge.map(("a", "b")))                     # list[int]
    reveal_type(await anything.map(range(3)))                     # list[str]
    await render_pdf.map(["a"])                                   # error: [list-item]
    reveal_type(await holdfast.inline("read", str.upper, "a"))    # str
    reveal_type(await holdfast.inline("read", add, "a"))          # None
    await holdfast.inline("read", str.upper, 5)                   # error: [call-overload]
    await charge(1)                                               # error: [arg-type]
    await charge()                                                # error: [call-arg]
    await store(5)                                                # error: [arg-type]
    await render_pdf(receipt, 2)                                  # error: [call-arg]
    return receipt                                                # error: [return-value]

reveal_type(render_pdf.function(1))                               # bytes

def count(data: bytes) -> int: return len(data)

pages = holdfast.pipeline("pages", [charge, render_pdf, count], app=app)
pages.with_options(id="p-1", queue="slow")
reveal_type(pages.steps[0].name)                                  # str
holdfast.pipeline("pages", [5])                                   # error: [list-item]

@workflow
def plain(order_id: str, amount: Decimal) -> bytes:
    pdf: bytes = render_pdf(1)
    notes = load("k")
    render_pdf(1)
    size: int = len(render_pdf(1))
    made, count = holdfast.parallel(render_pdf.call(1), charge.call("o"))
    ok: bytes = made + b""
    both = holdfast.parallel(render_pdf.call(1), lambda: size)
    sleep("1d")
    answer: int = holdfast.receive("approval", int)
    holdfast.wait_until(lambda: size > 1, timeout="1h")
    with holdfast.timeout("5s"):
        pages: list[bytes] = render_pdf.map([1, 2])
    with holdfast.Saga() as saga:
        saga.add(load, "k")
    child: bytes = plain("o", amount)
    render_pdf("1")                                               # error: [arg-type]
    charge("o")                                                   # error: [unused-coroutine]
    return pdf

async def mixed() -> None:
    reveal_type(await plain("o", Decimal(1)))                     # bytes
    reveal_type(await holdfast.parallel(charge.call("o"), render_pdf(1)))  # tuple[int, bytes | Any]
    reveal_type(await holdfast.parallel(plain.call("o", Decimal(1))))      # tuple[bytes]
    reveal_type(await holdfast.shield(charge("o")))               # int
    async with holdfast.timeout("5s"):
        await plain("o")                                          # error: [call-arg]

@blocking.step(retries=3)
def bill(order_id: str) -> int: return 1

@blocking.step
async def look_up(ctx: Context[Deps], order_id: str) -> float: return 1.0

@blocking.workflow(id="b-{order_id}")
def whole(order_id: str) -> bytes:
    reveal_type(bill(order_id))                                   # int
    reveal_type(look_up(order_id))                                # float
    reveal_type(bill.map(["a", "b"]))                             # list[int]
    reveal_type(whole("o"))                                       # bytes
    reveal_type(blocking.parallel(bill.call("o"), look_up.call("o")))      # tuple[int, float]
    reveal_type(blocking.receive("approval", int))                # int
    reveal_type(blocking.inline("read", str.upper, "a"))          # str
    blocking.sleep("1d")
    bill(5)                                                       # error: [arg-type]
    return bill(order_id)                                         # error: [return-value]

@step(retries="3")  # error: [call-overload] [untyped-decorator]
def misspelt() -> None: ...
"""


def test_a_user_file_is_checked_as_its_signatures_say(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    root = pytestconfig.rootpath
    file = tmp_path / "user_flows.py"
    file.write_text(USER_CODE)
    config = tmp_path / "mypy.ini"
    # Bodies of the SDK are checked elsewhere; here only what a user sees of it counts.
    config.write_text(f"[mypy]\nstrict = true\nfollow_imports = silent\nmypy_path = {root / 'sdk'}\n")
    cache = root / ".mypy_cache" / "user_typing"
    out, err, _ = api.run(["--config-file", str(config), "--cache-dir", str(cache), "--no-error-summary", str(file)])
    assert not err
    said: dict[int, list[str]] = {}
    for line in out.splitlines():
        found = re.match(r".*user_flows\.py:(\d+): (error|note): (.*)", line)
        assert found, line
        said.setdefault(int(found[1]), []).append(f"{found[2]}: {found[3]}")
    for number, line in enumerate(USER_CODE.splitlines(), start=1):
        expected = line.partition("#")[2].strip()
        actual = [text for text in said.pop(number, []) if "Revealed" in text or text.startswith("error")]
        if expected.startswith("error: "):
            codes = re.findall(r"[a-z-]+", expected.removeprefix("error: "))
            assert actual, line
            assert all(text.endswith(tuple(f"[{code}]" for code in codes)) for text in actual), (line, actual)
        elif expected:
            shown = [re.sub(r"builtins\.", "", text) for text in actual]
            assert shown == [f'note: Revealed type is "{expected}"'], line
        else:
            assert not actual, (line, actual)
    assert not said
