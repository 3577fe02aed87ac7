"""What a workflow sets for its steps: read by them wherever they run, and changed by nobody."""

from dataclasses import FrozenInstanceError, dataclass

import pytest
from pydantic import BaseModel, ConfigDict

import holdfast
from holdfast import App, Context, RetryableError, RunFailed
from holdfast.client import Client
from holdfast.errors import HoldfastError, PayloadNotSerializable, PayloadTooLarge
from holdfast.testing import run_local

from .conftest import WorkerFactory

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(40), pytest.mark.feature("F106")]

app = App("step-contexts", retries=0)
far = App("step-contexts")


@dataclass(frozen=True)
class Tenant:
    workspace_id: str
    limits: tuple[int, ...] = ()


class Plan(BaseModel):
    model_config = ConfigDict(frozen=True)
    name: str


@app.step
async def here(ctx: Context[None]) -> str:
    return f"here in {ctx.context(Tenant).workspace_id}"


@far.step(queue="far", retries=1, backoff=0)
def elsewhere(ctx: Context[None]) -> str:
    tenant = ctx.context(Tenant)
    if ctx.attempt == 1:
        raise RetryableError("again", retry_after=0)
    return f"elsewhere in {tenant.workspace_id}, {tenant.limits}"


@app.step
async def writes(ctx: Context[None]) -> str:
    tenant = ctx.context(Tenant)
    try:
        tenant.workspace_id = "other"  # type: ignore[misc]
    except FrozenInstanceError as error:
        return str(error)
    return "written"


@app.step
async def plan(ctx: Context[None]) -> str:
    return ctx.context(Plan).name


@app.workflow
async def sets() -> list[str]:
    holdfast.set_context(Tenant("w-1", (1, 2)))
    seen = [await here(), await elsewhere(), await writes(), await here()]
    holdfast.set_context(Plan(name="large"))
    return [*seen, await plan()]


async def test_steps_on_this_and_on_another_worker_read_what_the_workflow_has_set(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """Also in a second attempt; who writes gets an error, and the next step sees nothing of it."""
    async with worker(workflows=[app]), worker(workflows=[far], queue="far"):
        seen = await client.run(sets.with_options(queue=queue))
    assert seen == [
        "here in w-1", "elsewhere in w-1, (1, 2)", "cannot assign to field 'workspace_id'", "here in w-1", "large",
    ]  # fmt: skip


@app.workflow
async def sets_nothing() -> str:
    return await here()


@app.workflow
async def takes_it_away() -> str:
    holdfast.set_context(Tenant("w-1"))
    holdfast.set_context(None)
    return await here()


@app.workflow
async def sets_another() -> str:
    holdfast.set_context(Plan(name="small"))
    return await here()


@pytest.mark.parametrize("workflow", [sets_nothing, takes_it_away])
async def test_a_step_that_asks_for_what_was_not_set_fails_with_a_sentence(
    workflow: "holdfast.Workflow[[], str]",
) -> None:
    run = await run_local(workflow)
    assert run.failure is not None
    assert f"workflow {workflow.name} had set none when it called the step" in run.failure.message


async def test_a_step_that_asks_for_another_type_fails_and_names_what_does_not_fit() -> None:
    with pytest.raises(RunFailed, match="the context of the steps of workflow sets_another") as caught:
        (await run_local(sets_another)).value()
    assert isinstance(caught.value.__cause__, PayloadNotSerializable) or caught.value.error_type.startswith("Payload")


@app.workflow
async def sets_what_can_change(kind: str) -> str:
    @dataclass
    class Loose:
        name: str

    values = {"loose": Loose("a"), "mapping": {"a": 1}, "large": Plan(name="x" * 20_000)}
    try:
        holdfast.set_context(values[kind])
    except (TypeError, HoldfastError) as error:
        return f"{type(error).__name__}: {error}"
    return "set"


async def test_what_could_change_or_is_too_large_is_refused() -> None:
    for kind in ("loose", "mapping"):
        refusal = (await run_local(sets_what_can_change, kind)).value()
        assert refusal.startswith(
            "TypeError: set_context takes an object of a frozen dataclass or a frozen pydantic model"
        )
    assert (await run_local(sets_what_can_change, "large")).value().startswith(PayloadTooLarge.__name__)
    with pytest.raises(RuntimeError, match=r"set_context\(\) works inside a run only"):
        holdfast.set_context(Tenant("w-1"))
