"""Chains of runs that continue as new: what is sent to one of them reaches the newest, and what they begin with."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from holdfast.errors import HoldfastError, RunNotFound
from holdfast.ids import successor_run_id
from holdfast_coordinator.domain.batch import Answer
from holdfast_coordinator.domain.chains import RunWentOn
from holdfast_coordinator.domain.commands import (
    CommitTransition,
    DeliverToChild,
    RequestCancel,
    SendSignal,
    TerminateRun,
)
from holdfast_coordinator.domain.rows import RunRow
from holdfast_coordinator.telemetry.identity import Origins

from .cell_writer import COMMAND_SECONDS
from .cells import Cells
from .run_rows import Records

ToChain = SendSignal | RequestCancel | TerminateRun | DeliverToChild
"""What is meant for whichever run of a chain is open."""
HOPS_MAX = 100
"""How often a run may go on while something is sent to it."""


class Chains:
    """See the module."""

    def __init__(self, cells: Cells, records: Records, origins: Origins | None) -> None:
        self._cells = cells
        self._records = records
        self._origins = origins

    async def prepare(self, transitions: Sequence[CommitTransition]) -> None:
        """Gives transitions that continue as new what the run that goes on is made of. Raises StoreError."""
        records: dict[str, RunRow] = {}
        for cell, run_ids in self._cells.by_cell([one.run_id for one in transitions]):
            # As they are now, and not as they are remembered: their code may have changed the metadata.
            records |= await cell.store.records(run_ids)
        for one in transitions:
            one.origin, successor = records.get(one.run_id), one.successor
            if one.origin is not None and successor is not None and self._origins is not None:
                identity = self._origins.of_successor(successor.run_id, one.origin)
                one.trace, one.traced = identity.trace, identity.side

    async def submit(self, command: ToChain, *, seconds: float = COMMAND_SECONDS) -> Answer:
        """Submits a command, to the newest run where its run has gone on. Raises what it is refused with."""
        answer = await self.answer(command, seconds=seconds)
        if isinstance(answer, HoldfastError):
            raise answer
        return answer

    async def answer(self, command: ToChain, *, seconds: float = COMMAND_SECONDS) -> Answer:
        """The same; a refusal is the answer."""
        if not isinstance(command, DeliverToChild):
            record = (await self._records.of([command.run_id])).get(command.run_id)
            command.chain_run_id = None if record is None else record.chain_run_id
        (answer,) = await self._cells.submit(command.run_id, [command], seconds=seconds)
        hops = 0
        while isinstance(answer, RunWentOn) and hops < HOPS_MAX:
            hops += 1
            newest = (await self.newest_of([answer.run_id]))[answer.run_id]
            if isinstance(command, DeliverToChild):
                command = replace(command, run_id=newest)
            else:
                command = replace(command, run_id=newest, chain_run_id=command.requests_of)
            (answer,) = await self._cells.submit(newest, [command], seconds=seconds)
        return answer

    async def newest_of(self, run_ids: Iterable[str]) -> dict[str, str]:
        """The newest run of the chain of each of these runs, which have all continued as new."""
        records = await self._records.of(run_ids)
        newest: dict[str, str] = {}
        for run_id, record in records.items():
            chain = record.chain_run_id or run_id
            found = await self._cells.of_run(run_id).store.clients.newest_of_chain(chain)
            # One that was not found is of this very moment, and is the next one.
            newest[run_id] = found or successor_run_id(run_id)
        return newest

    async def first_of(self, run_id: str) -> str:
        """The first run of the chain that a run is in; the run itself where there is no chain. Raises RunNotFound."""
        record = (await self._records.of([run_id])).get(run_id)
        if record is None:
            raise RunNotFound(run_id)
        return record.chain_run_id or run_id
