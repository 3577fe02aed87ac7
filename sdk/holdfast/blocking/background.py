"""An event loop in a thread, on which the client for code without asyncio does what it is asked for."""

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from typing import Any, TypeVar

from holdfast.authoring.starter import has_running_loop
from holdfast.channel.connection import ForkedProcess
from holdfast.client.loops import new_event_loop
from holdfast.errors import HoldfastError

T = TypeVar("T")


class ClientClosed(HoldfastError, RuntimeError):
    """The blocking client was closed, before the call or while it waited."""

    def __init__(self) -> None:
        super().__init__("this blocking client is closed; connect another one")


class CalledInEventLoop(HoldfastError, RuntimeError):
    """A blocking client was called where an event loop runs. Nothing was sent."""

    def __init__(self) -> None:
        super().__init__(
            "a blocking client would block the event loop that runs here, with all that runs on it; "
            "use holdfast.Client with await"
        )


class BackgroundLoop:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped = False
        self._loop = new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="holdfast-client", daemon=True)
        self._thread.start()
        self._pid = os.getpid()

    @property
    def is_elsewhere(self) -> bool:
        """True in a forked process, which has everything of this but the thread."""
        return os.getpid() != self._pid

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs it on the loop and returns what it returns. Interrupting the caller cancels it.

        Raises ClientClosed after `stop`, also to those who wait at that moment, ForkedProcess in a process that
        was forked meanwhile: the thread stayed in the other one, and CalledInEventLoop.
        """
        if self.is_elsewhere:
            work.close()
            raise ForkedProcess
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("a blocking client was called from its own event loop, which it would block for ever")
        if has_running_loop():
            work.close()
            raise CalledInEventLoop
        # Under the lock: what is handed over after the loop's last turn would never be answered.
        with self._lock:
            if self._stopped:
                work.close()
                raise ClientClosed
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise ClientClosed from None
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """Cancels what still runs and ends the thread. May be called twice."""
        if self.is_elsewhere:
            return
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
            cancelling = asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop)
        cancelling.result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
