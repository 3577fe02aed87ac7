"""The store holds rows to the tables of states: a row holds what its state has, and nothing else."""

from itertools import product
from typing import Any

import pytest

from holdfast_coordinator.domain.changes import Changes
from holdfast_coordinator.domain.rows import RunState, TaskState
from holdfast_coordinator.domain.states import RUN_FIELDS, TASK_FIELDS
from holdfast_coordinator.store.cell import PostgresCellStore
from holdfast_coordinator.store.port import DataRejected
from tests.support.store_rows import T0, open_run, starting, task, write

CASES: list[tuple[Any, str, Any, Any]] = [
    *((state, column, held, open_run) for state, (column, held) in product(RunState, RUN_FIELDS.items())),
    *((state, column, held, task) for state, (column, held) in product(TaskState, TASK_FIELDS.items())),
]
TEXTS = {"owner": "s1", "stall_reason": "poison", "stall_build": "build", "waits": "signal go"}


async def test_the_store_takes_what_the_state_of_a_row_holds_and_nothing_else(cell: PostgresCellStore) -> None:
    wrong = []
    for number, ((state, column, held, make), has_it) in enumerate(product(CASES, (True, False))):
        value = {column: TEXTS.get(column, T0) if has_it else None}
        if make is open_run:
            changes = starting(open_run(f"r{number}", state=state, **value))
        else:
            changes = Changes(tasks_added={(f"r{number}", 1): task(f"r{number}", 1, state=state, **value)})
        try:
            await write(cell, changes)
            is_taken = True
        except DataRejected:
            is_taken = False
        expected = state in held.states if has_it else not (held.always and state in held.states)
        if is_taken is not expected:
            wrong.append((state, column, has_it, is_taken))
    assert wrong == []


@pytest.mark.parametrize("state", [0, 6])
async def test_a_state_that_there_is_not_is_refused(cell: PostgresCellStore, state: Any) -> None:
    with pytest.raises(DataRejected):
        await write(cell, starting(open_run("r1", state=state)))
