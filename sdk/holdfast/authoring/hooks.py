"""`hook`: a place in a run that takes one payload from whoever has its token, without knowing the run."""

from collections.abc import Awaitable, Callable, Generator
from typing import Any, Generic, TypeVar, overload

from holdfast.authoring.inline_steps import inline
from holdfast.authoring.steps import Step
from holdfast.definitions.functions import described
from holdfast.definitions.options import checked_name
from holdfast.durations import Duration, parse_duration
from holdfast.ids import hook_token
from holdfast.workflow.current_run import runtime_here

T = TypeVar("T")

NAME_MAX = 180
"""Characters of the name of a hook: the signal that it is has a longer one."""
_TOKEN_BYTES = 16

OnCreated = Callable[[str], object]
"""What is called with the token: a step, or any callable, which is one for this call."""


class Hook(Generic[T]):
    """A hook that is open. Awaited for what is delivered to it: the same each time; raises TimeoutError after its time.

    name: as it was given. token: who has it can deliver, once.
    """

    __slots__ = ("_received", "name", "token")

    def __init__(self, name: str, token: str, received: Awaitable[T]) -> None:
        self.name = name
        self.token = token
        self._received = received

    def __await__(self) -> Generator[Any, None, T]:
        import asyncio

        # Whoever stops waiting for it leaves it open.
        return asyncio.shield(self._received).__await__()

    def __repr__(self) -> str:
        return f"<hook {self.name}>"  # without the token, which would end up in logs


@overload
async def hook(
    name: str, type: type[T], *, timeout: Duration | None = None, on_created: OnCreated | None = None
) -> Hook[T]: ...
@overload
async def hook(
    name: str, type: Any = Any, *, timeout: Duration | None = None, on_created: OnCreated | None = None
) -> Hook[Any]: ...
async def hook(
    name: str, type: Any = Any, *, timeout: Duration | None = None, on_created: OnCreated | None = None
) -> Hook[Any]:
    """Makes a hook: `approval = await holdfast.hook("payment", Payment, timeout="1h", on_created=send_link)`.

    Its `token` can be given to anyone: `client.deliver(token, payload)` brings one payload to `await approval`. It is
    open when this returns, and `on_created`, a step or any callable, has been called with the token, as a step.
    type: what the payload is read as; what does not fit is refused to who delivers it.
    timeout: how long it is open, from now; else until the run ends. name: at most 180 characters.
    Raises RuntimeError outside a run, and StepFailed when `on_created` has failed for good.
    """
    checked_name("hook", "name", name)
    if len(name) > NAME_MAX:
        raise ValueError(f"hook: the name has {len(name)} characters, the limit is {NAME_MAX}")
    if on_created is not None and not callable(on_created):
        raise TypeError(f"hook {name!r}: on_created is a step or a function that takes the token, not {on_created!r}")
    span = None if timeout is None else parse_duration(timeout)
    runtime = runtime_here()
    if runtime is None:
        raise RuntimeError(
            "hook() works inside a run only: call it from workflow code that a worker runs, "
            "or try the workflow with holdfast.testing.run_local"
        )
    number = runtime.next_hook()
    # Random bits of a step, and not of the run, which are made of its id: nobody is to guess them.
    token = await inline(f"hook {name}", _new_token, runtime.info.run_id, number)
    received = runtime.open_hook(name, type, span, number=number, token=token)
    if isinstance(on_created, Step):
        await on_created(token)
    elif on_created is not None:
        await inline(f"hook {name}: {described(on_created)}"[:NAME_MAX], on_created, token)
    return Hook(name, token, received)


async def _new_token(run_id: str, number: int) -> str:
    import secrets

    return hook_token(run_id, number, secrets.token_bytes(_TOKEN_BYTES))
