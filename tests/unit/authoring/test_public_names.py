"""What `import holdfast` gives, and what it leaves alone."""

import subprocess
import sys

import pytest

import holdfast

HEAVY = (
    "asyncio", "decimal", "google", "grpc", "holdfast.client", "holdfast.codec", "holdfast.journal", "holdfast.worker",
    "logging", "opentelemetry", "pathlib", "pydantic", "pydantic_core", "random", "rich", "typer", "typing_extensions",
    "uuid",
)  # fmt: skip
"""What takes longer to import than the modules that define steps and workflows, and what would bring it along."""

OWN_MODULES_MAX = 35

STEPS = """
from datetime import timedelta
from typing import Any, Literal

@holdfast.step(retries=5, backoff=[1, 10], timeout=30)
async def charge(order: str, amounts: list[float], currency: Literal["EUR", "USD"] | None = None) -> dict[str, Any]: ...

@holdfast.step
def ship(order: str, boxes: tuple[int, ...], wait: timedelta = timedelta(0)) -> bool: ...

@holdfast.workflow(id="order-{order}")
async def order(order: str) -> None: ...
"""


def run(script: str) -> None:
    subprocess.run([sys.executable, "-c", script], check=True)


def imported_by(script: str) -> set[str]:
    """The names of all modules that a fresh interpreter imports for this, beside those it begins with."""
    whole = f"import sys\nbefore = set(sys.modules)\n{script}\nprint(*set(sys.modules) - before)"
    return set(
        subprocess.run([sys.executable, "-c", whole], check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    )


@pytest.mark.parametrize("script", ["import holdfast", f"import holdfast\n{STEPS}"], ids=["import", "definitions"])
def test_a_module_of_steps_waits_for_nothing_that_only_running_them_needs(script: str) -> None:
    imported = imported_by(script)
    assert sorted(imported & set(HEAVY)) == []
    own = sorted(name for name in imported if name.startswith("holdfast."))
    assert len(own) <= OWN_MODULES_MAX, own


def test_a_hint_that_may_be_wrong_is_looked_at_where_the_step_is_defined() -> None:
    run(
        "import holdfast\n"
        "from collections.abc import Iterator\n"
        "try:\n"
        "    @holdfast.step\n"
        "    def read(lines: list[Iterator[str]]) -> None: ...\n"
        "except TypeError as error:\n"
        "    assert 'lines' in str(error), error\n"
        "else:\n"
        "    raise AssertionError('it was taken')"
    )


def test_outside_of_runs_what_workflow_code_calls_is_plain_python_that_is_imported_when_it_is_called() -> None:
    run(
        "import holdfast, sys\n"
        "assert holdfast.uuid4().version == 4\n"
        "assert 0 <= holdfast.random().random() < 1\n"
        "assert holdfast.now().tzinfo is not None\n"
        "assert 'asyncio' not in sys.modules\n"
        "import asyncio\n"
        "asyncio.run(holdfast.sleep('1ms'))\n"
        "assert asyncio.run(holdfast.shield(asyncio.sleep(0, 7))) == 7"
    )


def test_the_first_start_loads_the_client_that_sets_the_default_starter() -> None:
    run(
        "import holdfast, sys\n"
        "from holdfast.authoring.starter import default_starter\n"
        "assert callable(default_starter())\n"
        "assert 'holdfast.client' in sys.modules"
    )


@pytest.mark.parametrize("name", sorted(set(holdfast.__all__) - set(holdfast._LAZY)))
def test_every_public_name_exists(name: str) -> None:
    assert getattr(holdfast, name) is not None


def test_workflow_is_the_decorator_and_not_the_package_of_that_name() -> None:
    import holdfast.workflow.commands

    assert callable(holdfast.workflow)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        _ = holdfast.nothing
