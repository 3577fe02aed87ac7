"""The worker for code without asyncio: in the thread that calls `run`, or beside the block of a `with`."""

import asyncio
import threading
from types import TracebackType
from typing import Any, Self

from holdfast.authoring.starter import has_running_loop
from holdfast.blocking.background import CalledInEventLoop
from holdfast.blocking.client import Client
from holdfast.channel.connection import check_not_forked
from holdfast.client import loops
from holdfast.worker import Worker as AsyncWorker


class Worker:
    """Takes work of one queue and runs it: `Worker(client, workflows=[order]).run()`, or `with Worker(...):`.

    Takes the options of `holdfast.Worker` and raises as that does. A worker is used once.
    """

    def __init__(self, client: Client, queue: str = "default", **options: Any) -> None:
        if not isinstance(client, Client):
            raise TypeError(f"a blocking Worker takes a holdfast.blocking.Client, not {client!r}")
        self._made = client, queue, options
        self._worker = self._new(**options)
        self._is_used = False
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    @property
    def build(self) -> str:
        """The build that this worker says it has."""
        return self._worker.build

    def run(self) -> None:
        """Works until it is drained. In the main thread SIGTERM and SIGINT drain it, and a second one ends it.

        Waits for the coordinator when it is not there. Raises NamespaceNotFound or PermissionDenied when that does not
        want this worker, and CalledInEventLoop.
        """
        self._use()
        loops.run(self._worker.run())

    def drain(self) -> None:
        """Asks the worker to take no new work and to leave; the second time, to leave at once. From any thread."""
        self._worker.drain()

    def stop(self) -> None:
        """Asks the worker to hand back everything and to leave at once. From any thread."""
        self._worker.stop()

    def __enter__(self) -> Self:
        """Works in a thread from here on; returns when work can come. Raises as `run` does.

        The end of the block drains it. Signals are the matter of the program around it.
        """
        self._use()
        *_, options = self._made
        # The signals are those of the block, which runs in this thread.
        self._worker = self._new(**{**options, "handle_signals": False})
        ready = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(ready,), name="holdfast-worker", daemon=True)
        self._thread.start()
        try:
            ready.wait()
        except BaseException:
            self._leave()
            raise
        if self._failure is not None:
            self._leave()
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leave()
        if error is None and self._failure is not None:
            raise self._failure

    def _new(self, **options: Any) -> AsyncWorker:
        client, queue, _ = self._made
        return AsyncWorker(client.asynchronous, queue, **options)

    def _use(self) -> None:
        if has_running_loop():
            raise CalledInEventLoop
        check_not_forked()
        if self._is_used:
            raise RuntimeError("a blocking worker is used once; make another one")
        self._is_used = True

    def _work(self, ready: threading.Event) -> None:
        try:
            loops.run(self._until_drained(ready))
        except BaseException as error:  # noqa: BLE001 - raised where the block begins or ends
            self._failure = error
        finally:
            ready.set()

    async def _until_drained(self, ready: threading.Event) -> None:
        running = asyncio.create_task(self._worker.run())
        opened = asyncio.create_task(self._worker.ready())
        opened.add_done_callback(lambda _: ready.set())
        try:
            await running
        finally:
            opened.cancel()
            await asyncio.gather(opened, return_exceptions=True)

    def _leave(self) -> None:
        self._worker.drain()
        if self._thread is not None:
            self._thread.join()
