"""The tasks of one run: held while they are pending, and looked at for errors that nobody has heard.

It never decides what runs, and never keeps a task that is done from going when the code lets go of it.
"""

import asyncio
from weakref import ref

from holdfast.workflow.tasks import WorkflowTask

_LOOKED_AT_PER_TURN = 64
"""How many tasks a turn of the code may look at, on average: 2 us."""


class HeldTasks:
    """pending: the tasks of one loop in the order of their creation; some of them may be done since the last look.

    Held here, since asyncio does not: a task that waits for an event which only it refers to would be unwound
    whenever the garbage collector comes along.
    """

    __slots__ = ("_failed", "_length_max", "_turns", "pending")

    def __init__(self) -> None:
        self.pending: list[WorkflowTask[object]] = []
        self._failed: list[ref[WorkflowTask[object]]] = []
        self._turns = 0
        self._length_max = _LOOKED_AT_PER_TURN

    def hold(self, task: WorkflowTask[object]) -> None:
        """Hold a new task."""
        self.pending.append(task)
        if len(self.pending) > self._length_max:
            self._look()

    def let_go(self) -> None:
        """Hold tasks no more that are done. Called after each turn of the code; looks when enough turns have passed.

        One that failed, and that the code does not hold either, is reported by asyncio at that moment.
        """
        self._turns += 1
        if self._turns * _LOOKED_AT_PER_TURN >= len(self.pending):
            self._look()

    def take_unheard(self) -> list[tuple[WorkflowTask[object], BaseException]]:
        """The tasks that failed and whose errors nobody has asked for, each handed out once."""
        failed = [task for one in self._failed if (task := one()) is not None]
        failed += [task for task in self.pending if task.done()]
        self._failed.clear()
        # Asking for the error is what marks it as heard.
        return [(task, error) for task in failed if task._log_traceback and (error := task.exception()) is not None]

    def clear(self) -> None:
        self.pending.clear()
        self._failed.clear()

    def _look(self) -> None:
        self._turns = 0
        pending, looked_at = [], self.pending
        for task in looked_at:
            if not task.done():
                pending.append(task)
            elif task._log_traceback:
                self._failed.append(ref(task))
        self.pending = pending
        self._length_max = 2 * len(pending) + _LOOKED_AT_PER_TURN


def unheard_words(future: object) -> str:
    """What the log says of a task or future whose error nobody has asked for."""
    if not isinstance(future, asyncio.Task):
        return "a future of workflow code was given an error, and nothing awaited it"
    code = getattr(future.get_coro(), "__qualname__", "")
    return f"{future.get_name()}{f' ({code})' if code else ''} of workflow code failed, and nothing awaited it"
