"""Deliveries to other runs: children to start, to cancel, to terminate, and parents to notify that a child closed.

Each is an alarm row, written with what caused it. It is made right after the commit, and again by the alarm loop
after a crash; the command that makes it strikes the row in its own transaction, so that it happens once. One that
fails is tried again later and later, and is a dead letter in the end; the parent of a child that was not started, or
whose end cannot be delivered, gets that as its end. An outage of the database is no failure of it.
"""

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import structlog

from holdfast.errors import CoordinatorUnavailable, HoldfastError, RunBusy, RunNotFound
from holdfast.ids import child_run_id
from holdfast.limits import DEFAULT_LIMITS
from holdfast_coordinator.domain.commands import (
    ChildStart,
    DeliverChildClosed,
    DeliverToChild,
    PostponeAlarm,
    RequestCancel,
    StartRun,
    TerminateRun,
)
from holdfast_coordinator.domain.hashed_calls import started_with
from holdfast_coordinator.domain.mail import ChildClosedMail
from holdfast_coordinator.domain.rows import AlarmKind, AlarmRow, RunRow
from holdfast_coordinator.store.port import StoreError
from holdfast_coordinator.telemetry.identity import Origins

from .cells import Cells
from .chains import Chains, ToChain
from .registry import Registry
from .run_rows import Records

if TYPE_CHECKING:  # prometheus_client is imported only where metrics are on
    from holdfast_coordinator.metrics.metrics import Metrics

log = structlog.get_logger(__name__)

PARENT_CLOSED = "the parent run closed"

DeliveryCommand = StartRun | DeliverChildClosed | DeliverToChild | RequestCancel | TerminateRun
Key = tuple[str, AlarmKind, int]


class OutboxCodec(Protocol):
    """Reads what an outbox alarm carries."""

    def child_start(self, alarm: AlarmRow, parent: RunRow) -> ChildStart:
        """The start of a child, from the ChildStarted entry in the alarm and the record of its parent."""

    def mail_to_child(self, alarm: AlarmRow) -> tuple[DeliverToChild, int]:
        """What a child is sent, from the MailSent entry in the alarm, and the number of the child."""


class Outbox:
    """See the module."""

    def __init__(
        self, cells: Cells, chains: Chains, records: Records, registry: Registry, codec: OutboxCodec,
        origins: Origins | None, metrics: "Metrics | None" = None, *, nesting_max: int = DEFAULT_LIMITS.nesting,
    ) -> None:  # fmt: skip
        self._cells = cells
        self._chains = chains
        self._records = records
        self._registry = registry
        self._codec = codec
        self._origins = origins
        self._metrics = metrics
        self._nesting_max = nesting_max
        self._under_way: dict[Key, asyncio.Event] = {}

    async def deliver(self, alarm: AlarmRow, mail: ChildClosedMail | None = None, to_run_id: str = "") -> None:
        """Makes one delivery, unless it is under way; one that fails is postponed."""
        key = (alarm.run_id, alarm.kind, alarm.ref)
        if key in self._under_way:
            return
        self._under_way[key] = asyncio.Event()
        try:
            command = await self._command(alarm, mail, to_run_id)
            if isinstance(command, ToChain):
                answer = await self._chains.answer(command)
            else:
                (answer,) = await self._cells.submit(command.run_id, [command])
            if isinstance(answer, RunBusy):
                raise answer  # it is locked, which says nothing of the delivery
            if isinstance(answer, HoldfastError):
                await self.postpone(alarm, str(answer))
        except (CoordinatorUnavailable, StoreError) as error:
            log.warning("delivery_waits", kind=alarm.kind.name, run_id=alarm.run_id, error=str(error))
            self._cells.of_run(alarm.run_id).store.alarm_stays(alarm)
        except Exception as error:  # noqa: BLE001 - what an older release wrote may make no command at all
            await self.postpone(alarm, str(error) if isinstance(error, HoldfastError) else repr(error))
        finally:
            self._under_way.pop(key).set()

    async def postpone(self, alarm: AlarmRow, reason: str) -> None:
        """Notes that an alarm of whatever kind failed; it is tried again later, and given up in the end.

        What a parent waits for is given up with a failure for that parent. While its row does not take even this, the
        delivery is made again and again: a release that heals what is wrong there delivers what it was.
        """
        log.warning(
            "delivery_failed", kind=alarm.kind.name, run_id=alarm.run_id, ref=alarm.ref, attempts=alarm.attempts + 1,
            error=reason,
        )  # fmt: skip
        if self._metrics is not None:
            self._metrics.delivery_failed(alarm.kind.name.lower())
        cell = self._cells.of_run(alarm.run_id)
        try:
            parent = await self._waiting_parent(alarm)
            asked = PostponeAlarm(alarm.run_id, alarm.kind, alarm.ref, alarm.due_at, reason, parent)
            (answer,) = await cell.writer.submit_all([asked])
            if isinstance(answer, CoordinatorUnavailable):
                raise answer  # it is locked
            if isinstance(answer, HoldfastError) and parent is not None:
                (answer,) = await cell.writer.submit_all([replace(asked, parent=None)])
            if isinstance(answer, HoldfastError):
                log.error("alarm_not_postponed", kind=alarm.kind.name, run_id=alarm.run_id, error=str(answer))
                cell.store.alarm_stays(alarm)
        except (HoldfastError, StoreError):
            cell.store.alarm_stays(alarm)

    async def _waiting_parent(self, alarm: AlarmRow) -> tuple[str, int] | None:
        """The run that waits for what this alarm delivers, and the number of the child there; None when there is none.

        Raises StoreError.
        """
        if alarm.kind is AlarmKind.OUTBOX_CHILD:
            return alarm.run_id, alarm.ref
        if alarm.kind is AlarmKind.OUTBOX_CHILD_CLOSED:
            child = (await self._records.of([alarm.run_id])).get(alarm.run_id)
            if child is not None and child.parent_run_id is not None:
                return child.parent_run_id, child.parent_number
        return None

    async def _command(self, alarm: AlarmRow, mail: ChildClosedMail | None, to_run_id: str) -> DeliveryCommand:
        if alarm.kind is AlarmKind.OUTBOX_CHILD:
            record = (await self._records.of([alarm.run_id])).get(alarm.run_id)
            if record is None:
                raise RunNotFound(alarm.run_id)
            return self._child_start(alarm, record)
        if alarm.kind is AlarmKind.OUTBOX_CHILD_CLOSED:
            if mail is None:
                mail, to_run_id = await self._closed_child(alarm)
            return DeliverChildClosed(to_run_id, mail, alarm)
        if alarm.kind is AlarmKind.OUTBOX_CHILD_MAIL:
            return await self._mail_to_child(alarm)
        target = to_run_id or child_run_id(alarm.run_id, alarm.ref)
        request_id = f"{alarm.run_id}/{alarm.kind.name}/{alarm.ref}"
        if alarm.kind is AlarmKind.OUTBOX_CHILD_CANCEL:
            return RequestCancel(target, request_id, PARENT_CLOSED, alarm)
        assert alarm.kind is AlarmKind.OUTBOX_CHILD_TERMINATE, alarm
        return TerminateRun(target, request_id, PARENT_CLOSED, alarm)

    async def _mail_to_child(self, alarm: AlarmRow) -> DeliverToChild:
        """What a child is sent. It follows the start of the child, and what the child was sent before, at once.

        Where these are not under way here, the rows say that it has to wait.
        """
        command, number = self._codec.mail_to_child(alarm)
        for key in (
            (alarm.run_id, AlarmKind.OUTBOX_CHILD, number),
            (alarm.run_id, AlarmKind.OUTBOX_CHILD_MAIL, command.after),
        ):
            earlier = self._under_way.get(key)
            if earlier is not None:
                await earlier.wait()
        return command

    def _child_start(self, alarm: AlarmRow, parent: RunRow) -> StartRun:
        child = self._codec.child_start(alarm, parent)
        start = child.start
        start.depth_max = self._nesting_max
        start.signatures = self._registry.known(start.namespace, start.workflow)
        if start.id:
            start.signature_digest = started_with(start.call_digest, start.signatures)
        if self._origins is not None:
            identity = self._origins.of_child(start.run_id, parent, alarm.ref, child.asked_at, child.close_policy)
            start.trace, start.traced = identity.trace, identity.side
        return start

    async def _closed_child(self, alarm: AlarmRow) -> tuple[ChildClosedMail, str]:
        """What the parent of a closed run must get, read back after a crash."""
        record = (await self._records.of([alarm.run_id]))[alarm.run_id]
        (result,) = await self._cells.of_run(alarm.run_id).store.results([alarm.run_id])
        assert record.parent_run_id is not None, alarm
        mail = ChildClosedMail(record.parent_number, alarm.run_id, result.status, result.result, result.failure)
        return mail, record.parent_run_id
