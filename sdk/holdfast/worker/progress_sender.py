"""Sends what running attempts have saved to the coordinator, one call at a time; what is saved meanwhile goes with the
next. Beside the reports, which do not wait for it."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from holdfast.channel.leases import OpenedSession, ProgressReport, ProgressResult
from holdfast.channel.repeatable_calls import repeat_wait
from holdfast.channel.worker_calls import WorkerCalls
from holdfast.errors import CoordinatorUnavailable, HoldfastError
from holdfast.session_refusals import ReattachRequired, ReplicaAway, SessionExpired
from holdfast.worker.crew import WorkCrew
from holdfast.worker.session_tasks import SessionTasks


class ProgressSender:
    """See the module. attached: waits until the session is attached. recover: opens it again after such a refusal."""

    def __init__(
        self,
        calls: WorkerCalls,
        crew: WorkCrew,
        tasks: SessionTasks,
        *,
        attached: Callable[[], Awaitable[OpenedSession]],
        recover: Callable[[HoldfastError, int], Awaitable[None]],
    ) -> None:
        self._calls = calls
        self._crew = crew
        self._tasks = tasks
        self._attached = attached
        self._recover = recover

    async def save_on(self) -> None:
        """Runs until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._tasks.next_save()
            while saves := self._crew.saves.take():
                results = await self._results_of(saves)
                tries = self._crew.progress_kept(results)
                if tries:
                    loop.call_later(repeat_wait(tries, jitter=random.random()), self._tasks.save_soon)
                    break

    async def _results_of(self, saves: list[ProgressReport]) -> tuple[ProgressResult, ...]:
        """What came of them; nothing when the session died, or they were refused as a whole."""
        first = await self._attached()
        retry = 0
        while True:
            opened = await self._attached()
            if opened.session_id != first.session_id:
                return ()  # with it all attempts have ended
            try:
                return await self._calls.save_progress(opened.session_id, opened.attach_no, saves)
            except (ReattachRequired, SessionExpired, ReplicaAway) as error:
                await self._recover(error, opened.attach_no)
            except CoordinatorUnavailable:
                await asyncio.sleep(repeat_wait(retry, jitter=random.random()))
                retry += 1
            except HoldfastError as error:
                self._crew.saves.failed(error)
                return ()
