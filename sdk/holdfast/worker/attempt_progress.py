"""What running attempts say of themselves: progress that is saved for those that may follow, and signs of life."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from holdfast.codec import Codec
from holdfast.definitions.context import Saved
from holdfast.errors import HoldfastError
from holdfast.journal import Payload
from holdfast.worker.beats import Beats

if TYPE_CHECKING:
    from holdfast.worker.attempts import Attempt


class AttemptProgress:
    """Of the attempts of one loop. save: keeps details of an attempt; what it gives says when they are kept.

    silent: called with an attempt that gave no sign of life for so long.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context,
        *,
        codec: Codec,
        save: "Callable[[Attempt, Payload], Awaitable[None]]",
        silent: "Callable[[Attempt, timedelta], None]",
    ) -> None:
        self._loop = loop
        self._context = context
        self._codec = codec
        self._save = save
        self._silent = silent

    def expect_within(self, attempt: "Attempt", silence: timedelta) -> None:
        """From now on the attempt gives a sign of life at least so often."""
        self._beats_of(attempt).expect_within(silence)

    def end(self, attempt: "Attempt") -> None:
        """The attempt is over."""
        if attempt.beats is not None:
            attempt.beats.end()
            attempt.beats = None

    def heartbeat(self, attempt: "Attempt", details: Any) -> None:
        """Called by the step, on the loop or in a thread."""
        payload = None if details is None else self._encoded(attempt, details)

        def beat() -> None:
            if not attempt.is_over:
                self._beats_of(attempt).beat(payload)

        if self._is_on_loop():
            beat()
        else:
            self._loop.call_soon_threadsafe(beat, context=self._context)

    def save(self, attempt: "Attempt", details: Any) -> Awaitable[None]:
        """Called by the step, on the loop, or in a thread, which it then holds until the details are kept."""
        payload = self._encoded(attempt, details)

        async def save() -> None:
            if attempt.is_over:
                name = attempt.call.definition.name
                raise HoldfastError(f"the progress of step {name} was not saved: this attempt no longer counts")
            if attempt.beats is not None:
                attempt.beats.beat(None)
            await self._save(attempt, payload)

        if self._is_on_loop():
            return save()
        asyncio.run_coroutine_threadsafe(save(), self._loop).result()
        return Saved()

    def _beats_of(self, attempt: "Attempt") -> Beats:
        if attempt.beats is None:
            attempt.beats = Beats(
                self._loop,
                self._context,
                save=lambda details: self._save(attempt, details),
                silent=lambda silence: self._silent(attempt, silence),
            )
        return attempt.beats

    def _encoded(self, attempt: "Attempt", details: Any) -> Payload:
        return self._codec.encode(details, what=f"progress of step {attempt.call.definition.name}")

    def _is_on_loop(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False
