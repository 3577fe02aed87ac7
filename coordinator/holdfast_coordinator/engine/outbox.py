"""Deliveries to other runs: children to start, to cancel, to terminate, and parents to tell that a child closed.

Each is an alarm row, written with what caused it. It is made right after the commit, and again by the alarm loop
after a crash; the command that makes it strikes the row in its own transaction, so that it happens once.
"""

from typing import Protocol

import structlog

from holdfast.errors import HoldfastError
from holdfast.ids import child_run_id
from holdfast_coordinator.domain.commands import (
    ChildStart,
    DeliverChildClosed,
    RequestCancel,
    StartRun,
    TerminateRun,
)
from holdfast_coordinator.domain.rows import AlarmKind, AlarmRow, ChildClosedMail, RunRecord
from holdfast_coordinator.store.port import StoreError
from holdfast_coordinator.telemetry.identity import Origins

from .cells import Cells
from .records import Records

log = structlog.get_logger(__name__)

PARENT_CLOSED = "the parent run closed"

DeliveryCommand = StartRun | DeliverChildClosed | RequestCancel | TerminateRun


class OutboxCodec(Protocol):
    """Reads what an outbox alarm carries."""

    def child_start(self, alarm: AlarmRow, parent: RunRecord) -> ChildStart:
        """The start of a child, from the ChildStarted entry in the alarm and the record of its parent."""


class Outbox:
    """See the module."""

    def __init__(self, cells: Cells, records: Records, codec: OutboxCodec, origins: Origins | None) -> None:
        self._cells = cells
        self._records = records
        self._codec = codec
        self._origins = origins

    async def deliver(self, alarm: AlarmRow, mail: ChildClosedMail | None = None, to_run_id: str = "") -> None:
        """Makes one delivery; a failure is logged and left to the alarm loop."""
        try:
            command = await self._command(alarm, mail, to_run_id)
            if command is not None:
                (answer,) = await self._cells.submit(command.run_id, [command])
                if isinstance(answer, HoldfastError):
                    log.warning("delivery_refused", kind=alarm.kind.name, run_id=alarm.run_id, error=str(answer))
        except (HoldfastError, StoreError) as error:
            log.warning("delivery_failed", kind=alarm.kind.name, run_id=alarm.run_id, error=str(error))
        except Exception:
            # What a worker wrote may make no command at all. It must not end the loop that makes all others.
            log.exception("delivery_failed", kind=alarm.kind.name, run_id=alarm.run_id)

    async def _command(self, alarm: AlarmRow, mail: ChildClosedMail | None, to_run_id: str) -> DeliveryCommand | None:
        if alarm.kind is AlarmKind.OUTBOX_CHILD:
            record = (await self._records.of([alarm.run_id])).get(alarm.run_id)
            return self._child_start(alarm, record) if record is not None else None
        if alarm.kind is AlarmKind.OUTBOX_CHILD_CLOSED:
            if mail is None:
                mail, to_run_id = await self._closed_child(alarm)
            return DeliverChildClosed(to_run_id, mail, alarm)
        target = to_run_id or child_run_id(alarm.run_id, alarm.ref)
        request_id = f"{alarm.run_id}/{alarm.kind.name}/{alarm.ref}"
        if alarm.kind is AlarmKind.OUTBOX_CHILD_CANCEL:
            return RequestCancel(target, request_id, PARENT_CLOSED, alarm)
        assert alarm.kind is AlarmKind.OUTBOX_CHILD_TERMINATE, alarm
        return TerminateRun(target, request_id, PARENT_CLOSED, alarm)

    def _child_start(self, alarm: AlarmRow, parent: RunRecord) -> StartRun:
        child = self._codec.child_start(alarm, parent)
        start = child.start
        if self._origins is not None:
            identity = self._origins.of_child(start.run_id, parent, alarm.ref, child.asked_at, child.close_policy)
            start.trace, start.traced = identity.trace, identity.side
        return start

    async def _closed_child(self, alarm: AlarmRow) -> tuple[ChildClosedMail, str]:
        """What the parent of a closed run must hear, read back after a crash."""
        record = (await self._records.of([alarm.run_id]))[alarm.run_id]
        (result,) = await self._cells.of_run(alarm.run_id).store.results([alarm.run_id])
        assert record.parent_run_id is not None, alarm
        mail = ChildClosedMail(record.parent_number, alarm.run_id, result.status, result.result, result.failure)
        return mail, record.parent_run_id
