"""Workflows as routes of a FastAPI application: start, look at, cancel.

    app.include_router(holdfast.contrib.fastapi.router(order, client=client, prefix="/api"))

A body is validated by the signature of the workflow before anything is sent. Nothing here runs a workflow: that is the
matter of workers.
"""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import fields
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Body, Header, HTTPException, Request, Response, status
from fastapi.encoders import jsonable_encoder
from pydantic import BaseModel, ConfigDict, Field, create_model

from holdfast.authoring.workflows import Workflow
from holdfast.client import Client, RunHandle, default_client
from holdfast.definitions.signatures import NO_EXTRA, ParameterKind
from holdfast.errors import (
    ArgumentsRejected,
    CoordinatorOverloaded,
    CoordinatorUnavailable,
    HoldfastError,
    InvalidRequest,
    PayloadNotSerializable,
    PayloadTooLarge,
    PermissionDenied,
    RunAlreadyStarted,
    RunConflict,
    RunNotFound,
    WorkflowNotRegistered,
)

T = TypeVar("T")

GivesClient = Callable[[], Client | Awaitable[Client]]

RETRY_AFTER_SECONDS = 1
"""What a caller is told to wait when the coordinator is out of reach."""

_STATUSES: Sequence[tuple[type[HoldfastError], int]] = (
    (RunNotFound, status.HTTP_404_NOT_FOUND),
    (RunConflict, status.HTTP_409_CONFLICT),
    (RunAlreadyStarted, status.HTTP_409_CONFLICT),
    (PayloadTooLarge, 413),
    (ArgumentsRejected, 422),
    (InvalidRequest, 422),
    (PayloadNotSerializable, 422),
    (PermissionDenied, status.HTTP_403_FORBIDDEN),
    (WorkflowNotRegistered, status.HTTP_503_SERVICE_UNAVAILABLE),
    (CoordinatorUnavailable, status.HTTP_503_SERVICE_UNAVAILABLE),
)


class StartAnswered(BaseModel):
    """The answer to a start."""

    status: str
    """"started", or "attached" when the run was there before, by its id or idempotency key."""
    run_id: str
    id: str | None
    workflow: str


class CancelAnswered(BaseModel):
    """The answer to a cancel request."""

    run_id: str
    cancelled: bool
    """False when the run was closed already."""


def router(
    *workflows: Workflow[..., Any],
    client: Client | GivesClient | None = None,
    prefix: str = "/api",
    tags: Sequence[str] | None = None,
) -> APIRouter:
    """Routes for each workflow: POST `/api/order` starts, GET `/api/order/{run_id}` reports, DELETE cancels.

    The body of a start is an object with the parameters of the workflow, validated as they are annotated: 422 names the
    field. `Idempotency-Key` makes repeats of a request the same run. GET and DELETE take a run id or a business id, of
    runs of that workflow.

    client: a Client, or what gives one (also as a coroutine): an application that connects when it starts has none when
    its routes are made. Without it the default client of the event loop. tags: for the OpenAPI page; the names of the
    workflows by default. Raises TypeError for what is no workflow, and for one that takes `*args` or `**kwargs`.
    """
    if not workflows:
        raise TypeError("router() takes workflows: router(order, client=client)")
    made = APIRouter(prefix=prefix)
    for workflow in workflows:
        if not isinstance(workflow, Workflow):
            raise TypeError(f"router() takes workflows, not {workflow!r}; decorate the function with @workflow")
        _add(made, workflow, client, list(tags) if tags is not None else [workflow.name])
    return made


def _add(made: APIRouter, workflow: Workflow[..., Any], client: Client | GivesClient | None, tags: list[Any]) -> None:
    name = workflow.name
    model = arguments_model(workflow)
    body = Body() if model.model_fields else Body(default_factory=model)

    async def start(
        arguments: Any, request: Request, response: Response, idempotency_key: Annotated[str | None, Header()] = None
    ) -> StartAnswered:
        try:
            target = workflow.with_options(idempotency_key=idempotency_key)
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
        args, kwargs = _call_of(workflow, arguments)
        run = await _answered(_started(client, target, args, kwargs))
        response.headers["Location"] = request.url_for(f"report {name}", run_id=run.run_id).path
        said = "attached" if run.attached else "started"
        return StartAnswered(status=said, run_id=run.run_id, id=run.id, workflow=name)

    # Its type is made here; FastAPI reads it from the annotations.
    start.__annotations__["arguments"] = Annotated[model, body]
    start.__doc__ = inspect.getdoc(workflow.function)

    async def report(run_id: str) -> dict[str, Any]:
        return await _answered(_reported(client, name, run_id))

    async def cancel(run_id: str, reason: str | None = None) -> CancelAnswered:
        return await _answered(_cancelled(client, name, run_id, reason))

    made.add_api_route(
        f"/{name}",
        start,
        methods=["POST"],
        status_code=202,
        response_model=StartAnswered,
        name=f"start {name}",
        tags=tags,
    )
    made.add_api_route(f"/{name}/{{run_id}}", report, methods=["GET"], name=f"report {name}", tags=tags)
    made.add_api_route(
        f"/{name}/{{run_id}}",
        cancel,
        methods=["DELETE"],
        response_model=CancelAnswered,
        name=f"cancel {name}",
        tags=tags,
    )


def arguments_model(workflow: Workflow[..., Any]) -> type[BaseModel]:
    """The body of a start: a field for each parameter of the workflow, and nothing else.

    Raises TypeError for a workflow that takes `*args` or `**kwargs`, which have no fields.
    """
    signature = workflow.definition.signature
    if signature.extra_positional is not NO_EXTRA or signature.extra_named is not NO_EXTRA:
        raise TypeError(f"workflow {workflow.name} takes *args or **kwargs, which a body has no fields for")
    # By alias: whatever a parameter is called, a model has a field for it.
    described: dict[str, Any] = {
        f"p{place}": (one.hint, Field(alias=one.name) if one.required else Field(one.default, alias=one.name))
        for place, one in enumerate(signature.parameters)
    }
    return create_model(
        f"{workflow.name}_arguments", __config__=ConfigDict(extra="forbid", arbitrary_types_allowed=True), **described
    )


def _call_of(workflow: Workflow[..., Any], arguments: BaseModel) -> tuple[list[Any], dict[str, Any]]:
    """What the body says, as a call; parameters that it leaves out are left out."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for place, parameter in enumerate(workflow.definition.signature.parameters):
        if parameter.kind is ParameterKind.POSITIONAL_ONLY:
            args.append(getattr(arguments, f"p{place}"))
        elif f"p{place}" in arguments.model_fields_set:
            kwargs[parameter.name] = getattr(arguments, f"p{place}")
    return args, kwargs


async def _client(given: Client | GivesClient | None) -> Client:
    if given is None:
        return await default_client()
    if isinstance(given, Client):
        return given
    found = given()
    return await found if inspect.isawaitable(found) else found


async def _started(
    client: Client | GivesClient | None, target: Any, args: list[Any], kwargs: dict[str, Any]
) -> RunHandle[Any]:
    return await (await _client(client)).start(target, *args, **kwargs)


async def _reported(client: Client | GivesClient | None, workflow: str, run_id: str) -> dict[str, Any]:
    run = await _run_of(client, workflow, run_id)
    described, report = await run.describe(), await run.report()
    facts = {one.name: getattr(described, one.name) for one in fields(described) if one.name != "failure"}
    tasks = [
        {one.name: getattr(task, one.name) for one in fields(task) if one.name != "failure"} | {"error": task.error}
        for task in report.tasks
    ]
    encoded: dict[str, Any] = jsonable_encoder({**facts, "error": described.error, "tasks": tasks})
    return encoded


async def _cancelled(
    client: Client | GivesClient | None, workflow: str, run_id: str, reason: str | None
) -> CancelAnswered:
    run = await _run_of(client, workflow, run_id)
    return CancelAnswered(cancelled=await run.cancel(reason), run_id=run.run_id)


async def _run_of(client: Client | GivesClient | None, workflow: str, run_id: str) -> RunHandle[Any]:
    """The run, if it is one of this workflow: a route for orders shows no payments. Raises RunNotFound."""
    run = (await _client(client)).get(run_id)
    described = await run.describe()
    if described.workflow != workflow:
        raise RunNotFound(run_id)
    return run


async def _answered(work: Awaitable[T]) -> T:
    try:
        return await work
    except HoldfastError as error:
        raise _refusal(error) from error


def _refusal(error: HoldfastError) -> HTTPException:
    code = next((code for kind, code in _STATUSES if isinstance(error, kind)), 500)
    headers = None
    if code == status.HTTP_503_SERVICE_UNAVAILABLE:
        after = error.retry_after_seconds if isinstance(error, CoordinatorOverloaded) else RETRY_AFTER_SECONDS
        headers = {"Retry-After": str(max(1, round(after)))}
    return HTTPException(code, str(error), headers)
