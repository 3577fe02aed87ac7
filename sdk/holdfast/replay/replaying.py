"""Feeds a stored journal into the code of today, an entry at a time, and says where the two part.

It is the replay of a worker, on the worker's own runtime: `WorkflowInstance` compares, this asks where the code is.
"""

from holdfast.codec import Codec
from holdfast.definitions.definitions import WorkflowDefinition
from holdfast.errors import HoldfastError, NonDeterminism
from holdfast.replay.places import CodePlace, place_of_code
from holdfast.replay.stored import StoredRun
from holdfast.worker.guards import Guards, guarded
from holdfast.worker.stall_reasons import stall_reason
from holdfast.workflow.instance import WorkflowInstance


class ReplayMismatch(HoldfastError, AssertionError):
    """Today's code does not do what a stored run did, so a worker with it would stall that run.

    entry: the number of the first entry that it does not come to. expected: what that entry records; "" when something
    else went wrong. actual: what the code did in its place. place: where, as "shop/flows.py:31"; "" when not known.
    code_place: the same with the frames of the code.
    """

    def __init__(
        self,
        *,
        run_id: str,
        workflow: str,
        entry: int,
        reason: str,
        expected: str,
        actual: str,
        code_place: CodePlace | None,
    ) -> None:
        place = "" if code_place is None else code_place.text
        at = f" at {place}" if place else ""
        words = f"the journal has {expected}, but the code {actual}" if expected else reason
        super().__init__(f"run {run_id} of {workflow} does not replay: at entry {entry} {words}{at}")
        self.run_id = run_id
        self.workflow = workflow
        self.entry = entry
        self.reason = reason
        self.expected = expected
        self.actual = actual
        self.place = place
        self.code_place = code_place


class HistoryReplay:
    """A stored run, and its code as far as it was fed. Use it as a context manager: leaving drops the code.

    guards: "off" lets its code call what a replay cannot repeat.
    """

    def __init__(
        self, stored: StoredRun, definition: WorkflowDefinition, *, codec: Codec, guards: Guards = "on"
    ) -> None:
        self.stored = stored
        self.fed = 0
        self._definition = definition
        self._instance = WorkflowInstance(
            definition, stored.info, stored.arguments, codec=codec, is_guarded=guarded(guards)
        )
        self._instance.is_replaying = True
        self._instance.expect(len(stored.entries))
        self._instance.foresee(stored.entries)

    def __enter__(self) -> "HistoryReplay":
        return self

    def __exit__(self, *_: object) -> None:
        self._instance.close()

    def feed(self, count: int | None = None) -> None:
        """Feed the entries up to number `count`, or all. Raises ReplayMismatch; then the code stays where it is."""
        entries = self.stored.entries
        for entry in entries[self.fed : len(entries) if count is None else count]:
            try:
                self._instance.feed(entry)
            except Exception as error:
                raise self._mismatch(error) from error
            self.fed += 1

    def place(self) -> CodePlace | None:
        """Where the code waits; None when it has not begun or has ended."""
        return place_of_code(self._instance.pending_tasks(), None)

    def _mismatch(self, error: Exception) -> ReplayMismatch:
        asked = error.asked if isinstance(error, NonDeterminism) else None
        place = place_of_code(self._instance.pending_tasks(), asked, error, self._definition.function)
        return ReplayMismatch(
            run_id=self.stored.info.run_id,
            workflow=self._definition.name,
            entry=self.fed + 1,
            reason=stall_reason(error),
            expected=error.expected if isinstance(error, NonDeterminism) else "",
            actual=error.actual if isinstance(error, NonDeterminism) else "",
            code_place=place,
        )
