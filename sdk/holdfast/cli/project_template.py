"""The files of a new project, by name. `$name` stands for the name of the project. Plain data."""

from string import Template

_PYPROJECT = """\
[project]
name = "$name"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["holdfast"]

[project.optional-dependencies]
dev = ["holdfast[server]", "pytest"]

[tool.holdfast]
modules = ["flows"]  # what `holdfast dev` and `holdfast worker` run

[tool.pytest.ini_options]
pythonpath = ["."]
"""

_FLOWS = '''\
"""A workflow that survives crashes: every step is recorded when it has ended, and not executed again."""

import asyncio

from holdfast import exponential, sleep, step, workflow


@step(retries=5, backoff=exponential(base=2, max=60), timeout="30s")
async def charge(order_id: str, cents: int) -> str:
    # Here you call the payment provider. A failed attempt is repeated; a lost worker's goes on in another one.
    return f"receipt {order_id}: {cents / 100:.2f}"


@step
def archive(receipt: str) -> int:
    # A plain function runs in a thread.
    return len(receipt)


@step
async def notify(order_id: str, text: str) -> None:
    print(order_id, text)


@workflow(id="order-{order_id}")
async def order(order_id: str, cents: int) -> str:
    receipt = await charge(order_id, cents)
    await asyncio.gather(archive(receipt), notify(order_id, "paid"))
    await sleep("5s")  # durable: it may be "30d", and holds no worker
    await notify(order_id, "thank you")
    return receipt
'''

_TEST = '''\
"""Workflows are tested without any service, on a clock that jumps over the waits."""

import asyncio

from flows import order
from holdfast.testing import run_local


def test_an_order_ends_with_its_receipt() -> None:
    run = asyncio.run(run_local(order, "o-1", 1999))
    assert run.value() == "receipt o-1: 19.99"
    assert run.took.total_seconds() >= 5
'''

_README = """\
# $name

A project of holdfast: workflows that survive crashes.

    pip install -e '.[dev]'
    pytest                  # tests the workflow, without any service
    holdfast dev            # Postgres, coordinator and a worker for flows.py

In another terminal:

    holdfast run order --input '["o-1", 1999]'
    holdfast runs list
    holdfast trace show order-o-1

Stop `holdfast dev` while an order sleeps, with Ctrl-C or `kill -9`, and start it again: the order goes on where it was.
"""

_GITIGNORE = """\
.holdfast/
.venv/
__pycache__/
*.egg-info/
"""

_TEMPLATES = {
    "pyproject.toml": _PYPROJECT,
    "flows.py": _FLOWS,
    "test_flows.py": _TEST,
    "README.md": _README,
    ".gitignore": _GITIGNORE,
}


def files_of_project(name: str) -> dict[str, str]:
    """The texts of the files of a new project, by file name."""
    return {file: Template(text).safe_substitute(name=name) for file, text in _TEMPLATES.items()}
