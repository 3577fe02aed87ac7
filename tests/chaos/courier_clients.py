"""Clients that ask coordinators at random about couriers, and write down what they were told and when.

They speak bare messages: each question has its own start id or request id, and is asked once. A question without an
answer is often asked again, elsewhere, as one of its own. What never left this process is not in the history.
"""

import asyncio
import hashlib
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from holdfast import ids
from holdfast.api.v1 import journal_pb2, value_pb2
from holdfast.api.v1 import run_service_pb2 as pb
from holdfast.api.v1.run_service_pb2_grpc import RunServiceStub
from holdfast.api.v1.status_pb2 import RunStatus
from holdfast_coordinator.domain.rows import JournalRow
from holdfast_coordinator.wire.entries import join_entries
from tests.chaos.courier_model import (
    OPEN,
    Answer,
    Cancel,
    Fate,
    Look,
    Question,
    Refused,
    Retry,
    Seen,
    Signal,
    Start,
    Started,
    Terminate,
)
from tests.chaos.linearizability import Operation
from tests.support.invariants import CellRows

WORKFLOW = "courier"
CALL_SECONDS = 10.0
HASTE_SECONDS = 0.004
"""Who waits no longer than this often has no answer although the commit has happened."""
KINDS = [
    *(["start"] * 3), *(["signal"] * 4), *(["cancel"] * 1), *(["terminate"] * 1), *(["retry"] * 2), *(["look"] * 2),
]  # fmt: skip
"""What is asked how often."""
CLOSED_STATUSES = ("COMPLETED", "FAILED", "CANCELLED", "TERMINATED")
NO_ANSWER = (
    grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL,
)  # fmt: skip
NEVER_SENT = "failed to connect to all addresses"


class History:
    """All that clients were told, by one clock, in seconds since the first of it."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.never_sent = 0
        self._began_at = time.perf_counter()

    def now(self) -> float:
        """The time of the history."""
        return time.perf_counter() - self._began_at

    @property
    def unanswered(self) -> list[Operation]:
        """Questions without an answer."""
        return [one for one in self.operations if one.returned_at is None]


class CourierClient:
    """One client, which asks one question at a time, each of any of its coordinators."""

    def __init__(self, name: str, addresses: Sequence[str], history: History, *, ledger: str, queue: str) -> None:
        self.name = name
        self.history = history
        self._queue = queue
        self._arguments = _payload(ledger)
        self._channels = [
            grpc.aio.insecure_channel(
                address, options=[("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 200)]
            )
            for address in addresses
        ]
        self._stubs = [RunServiceStub(channel) for channel in self._channels]  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        """Ends its channels."""
        for channel in self._channels:
            await channel.close()

    async def ask(self, key: str, asked: Question, *, of: int, seconds: float = CALL_SECONDS) -> Answer | None:
        """Asks one of the coordinators about one id; None when there was no answer."""
        history = self.history
        began_at = history.now()
        answer: Answer | None
        try:
            answer = await self._call(self._stubs[of], key, asked, seconds)
        except grpc.aio.AioRpcError as failed:
            answer = _refusal(failed)
            if answer is None and NEVER_SENT in (failed.details() or ""):
                history.never_sent += 1
                return None
        returned_at = None if answer is None else history.now()
        history.operations.append(Operation(self.name, key, asked, began_at, returned_at, answer))
        return answer

    async def ask_on(
        self, rng: random.Random, keys: Sequence[str], *, questions: int, asked_one: Callable[[], None]
    ) -> None:
        """Asks so many random questions."""
        known: dict[str, list[str]] = {key: [] for key in keys}
        for number in range(questions):
            key = rng.choice(keys)
            asked = random_question(rng, f"{self.name}-{number}", known[key])
            of = rng.randrange(len(self._stubs))
            seconds = HASTE_SECONDS if rng.random() < 0.04 else CALL_SECONDS
            answer = await self.ask(key, asked, of=of, seconds=seconds)
            if answer is None and rng.random() < 0.8:
                answer = await self.ask(key, asked, of=(of + 1) % len(self._stubs))
            if isinstance(answer, Started | Seen) and answer.run_id not in known[key]:
                known[key] = [*known[key][-2:], answer.run_id]
            asked_one()

    async def settle(self, key: str) -> None:
        """Ends the run of an id and looks at it until it has."""
        end = Signal("", f"settle-{key}", f"end-settled-{key}")
        await self.ask(key, end, of=0)
        async with asyncio.timeout(30):
            while True:
                seen = await self.ask(key, Look(), of=0)
                if not isinstance(seen, Seen) or seen.status != OPEN:
                    return
                await asyncio.sleep(0.02)

    async def _call(self, stub: Any, key: str, asked: Question, seconds: float) -> Answer:
        match asked:
            case Start():
                spec = pb.StartSpec(
                    start_id=asked.start_id, workflow=WORKFLOW, id=key, queue=self._queue,
                    idempotency_key=asked.idempotency_key and f"{key} {asked.idempotency_key}",
                    arguments=value_pb2.Arguments(positional=[self._arguments]),
                    reuse=pb.ReusePolicy.Value(f"REUSE_POLICY_{asked.reuse.upper()}"),
                    on_conflict=pb.ConflictPolicy.Value(f"CONFLICT_POLICY_{asked.on_conflict.upper()}"),
                )  # fmt: skip
                made = (await stub.StartRun(pb.StartRunRequest(start=spec), timeout=seconds)).run
                return Started(made.run_id, made.attached)
            case Retry(to, start_id):
                made = (await stub.RetryRun(pb.RetryRunRequest(run=to or key, start_id=start_id), timeout=seconds)).run
                return Started(made.run_id, made.attached)
            case Signal(to, request_id, word, once):
                signal = journal_pb2.Signal(name="word", payload=_payload(word))
                request = pb.SignalRunRequest(run=to or key, signal=signal, request_id=request_id, once=once)
                return bool((await stub.SignalRun(request, timeout=seconds)).accepted)
            case Cancel(to, request_id):
                request = pb.CancelRunRequest(run=to or key, request_id=request_id)
                return bool((await stub.CancelRun(request, timeout=seconds)).accepted)
            case Terminate(to, request_id):
                request = pb.TerminateRunRequest(run=to or key, request_id=request_id)
                return bool((await stub.TerminateRun(request, timeout=seconds)).accepted)
            case Look(to):
                return _seen((await stub.GetRun(pb.GetRunRequest(run=to or key), timeout=seconds)).run)


def random_question(rng: random.Random, name: str, run_ids: Sequence[str]) -> Question:
    """A question that has not been asked; about an id, or about one of the runs that it had."""
    to = rng.choice(["", "", *run_ids])
    match rng.choice(KINDS):
        case "start":
            start_id = ids.start_id(time.time_ns() // 1_000_000, rng.randbytes(10))
            key = rng.choice(["", "", "", f"key-{rng.randrange(20)}"])
            return Start(
                start_id, "", rng.choice(["attach", "new", "retry_failed"]), rng.choice(["attach", "reject"]), key
            )
        case "signal":
            word = rng.choice(["word", "word", "word", "fail", "end"])
            return Signal(to, f"signal-{name}", f"{word}-{name}", rng.random() < 0.3)
        case "cancel":
            return Cancel(to, f"cancel-{name}")
        case "terminate":
            return Terminate(to, f"terminate-{name}")
        case "retry":
            return Retry(to, ids.start_id(time.time_ns() // 1_000_000, rng.randbytes(10)))
        case _:
            return Look(to)


def _payload(value: object) -> value_pb2.Payload:
    data = json.dumps(value).encode()
    return value_pb2.Payload(data=data, content_sha256=hashlib.sha256(data).digest())


def _seen(run: pb.RunDescription) -> Seen:
    status = RunStatus.Name(run.status).removeprefix("RUN_STATUS_")
    words = tuple(json.loads(run.result.data)) if status == "COMPLETED" else None
    return Seen(run.run_id, status.lower() if status in CLOSED_STATUSES else OPEN, words)


def _refusal(failed: grpc.aio.AioRpcError) -> Refused | None:
    """What was refused; None where the call has no answer. Raises what is neither."""
    if failed.code() in NO_ANSWER:
        return None
    for name, value in failed.trailing_metadata() or ():
        if name == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    return Refused(info.reason)
    raise failed


def fates_of(rows: CellRows) -> dict[str, Fate]:
    """What has become of the runs of a cell."""
    statuses = {result.run_id: result.status.name.lower() for result in rows.results}
    return {
        run_id: Fate(statuses.get(run_id, OPEN), tuple(_words(journal))) for run_id, journal in rows.journals.items()
    }


def _words(journal: Sequence[JournalRow]) -> Iterator[str]:
    for row in journal:
        for entry in journal_pb2.JournalRow.FromString(join_entries(row.entries)).entries:
            kind = entry.WhichOneof("body") or ""
            if kind in ("mail_consumed", "mail_undelivered") and getattr(entry, kind).mail.HasField("signal"):
                yield json.loads(getattr(entry, kind).mail.signal.payload.data)
