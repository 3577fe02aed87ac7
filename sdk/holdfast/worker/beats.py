"""The signs of life of one attempt: details that are saved now and then, and the limit for silence."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from datetime import timedelta

from holdfast.journal import Payload

SAVE_SECONDS = 2.0
"""How often the details of heartbeats are saved at most."""


class Beats:
    """See the module; on the event loop only. save: keeps details. silent: called when none came within the limit."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context,
        *,
        save: Callable[[Payload], Awaitable[None]],
        silent: Callable[[timedelta], None],
    ) -> None:
        self._loop = loop
        self._context = context
        self._save = save
        self._silent = silent
        self._details: Payload | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._limit: asyncio.TimerHandle | None = None
        self._beat_at = loop.time()

    def expect_within(self, silence: timedelta) -> None:
        """From now on a sign of life is expected at least so often."""
        self._limit = self._loop.call_later(silence.total_seconds(), self._look, silence, context=self._context)

    def beat(self, details: Payload | None) -> None:
        """The attempt is alive. details: saved now, or when the last ones were saved long enough ago."""
        self._beat_at = self._loop.time()
        if details is not None:
            self._details = details
            if self._pause is None:
                self._save_details()

    def end(self) -> None:
        """The attempt is over."""
        for timer in (self._pause, self._limit):
            if timer is not None:
                timer.cancel()

    def _save_details(self) -> None:
        self._pause = None
        if self._details is not None:
            details, self._details = self._details, None
            self._save(details)  # nobody waits for it
            self._pause = self._loop.call_later(SAVE_SECONDS, self._save_details, context=self._context)

    def _look(self, silence: timedelta) -> None:
        """The limit is not moved with each sign of life, which may come by the thousand: it is looked at when due."""
        left = self._beat_at + silence.total_seconds() - self._loop.time()
        if left > 0:
            self._limit = self._loop.call_later(left, self._look, silence, context=self._context)
        else:
            self._silent(silence)
