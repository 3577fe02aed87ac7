"""What users see of a run: decoded values, None where there is nothing to say."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, overload

from holdfast.channel.run_records import RunRecord, RunRecordPage
from holdfast.client.notebooks import html_table
from holdfast.codec import Codec
from holdfast.errors import CodecMissing, PayloadNotSerializable
from holdfast.journal import Failure, Payload
from holdfast.statuses import RunStatus

_EMPTY: tuple[Any, ...] = (None, "", (), {}, 0)


@dataclass(slots=True, frozen=True)
class RunDescription:
    """What is known of a run. Times are aware UTC. Values have JSON's own types.

    `args` and `kwargs` are empty and `result` is None in listings, which leave values out.
    """

    run_id: str
    id: str | None
    workflow: str
    status: RunStatus
    reason: str | None
    current_step: str | None
    queue: str
    created_at: datetime
    updated_at: datetime
    closed_at: datetime | None
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    result: Any
    failure: Failure | None
    metadata: Mapping[str, str]
    origin_run_id: str | None
    parent_run_id: str | None
    session_id: str | None
    journal_length: int
    losses: int
    undelivered: tuple[str, ...] = ()
    """What it could not get to a child, to its parent or to itself, and was given up: one sentence each."""
    progress: int | None = None
    """The index, from 0, of the step that it works on, waits for or failed at; when there is none, how many steps it
    has come past. It says how far a run is whose steps follow one another, as those of a pipeline. None where the end
    of its journal does not show it, and in listings of runs that have closed and did not fail in a step."""

    chain_run_id: str | None = None
    """The first run of its chain, of which each continued as the next; None for that one, and without a chain."""

    warnings: tuple[str, ...] = ()
    """What is about to become a problem while it is open, one sentence each; empty in listings."""

    @property
    def error(self) -> str | None:
        """Why it did not complete, as "ValueError: kaput"; None when it did or is open."""
        failure = self.failure
        return None if failure is None else f"{failure.error_type}: {failure.message}".rstrip(": ")

    def _repr_html_(self) -> str:
        facts = ((one.name, getattr(self, one.name)) for one in fields(self) if one.name != "failure")
        return html_table((), [(name, value) for name, value in (*facts, ("error", self.error)) if value not in _EMPTY])


@dataclass(slots=True, frozen=True)
class RunPage(Sequence[RunDescription]):
    """Runs, newest first; those of a chain oldest first. `next_cursor` is None on the last page."""

    runs: tuple[RunDescription, ...]
    next_cursor: str | None

    def __len__(self) -> int:
        return len(self.runs)

    @overload
    def __getitem__(self, index: int) -> RunDescription: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[RunDescription]: ...
    def __getitem__(self, index: int | slice) -> RunDescription | Sequence[RunDescription]:
        return self.runs[index]

    def __iter__(self) -> Iterator[RunDescription]:
        return iter(self.runs)

    def _repr_html_(self) -> str:
        names = ("run_id", "id", "workflow", "status", "current_step", "created_at")
        return html_table(names, [[getattr(run, name) for name in names] for run in self.runs])


def describe(record: RunRecord, codec: Codec) -> RunDescription:
    """The description of a run. A value that cannot be read here is shown as a text that says so."""
    return RunDescription(
        run_id=record.run_id,
        id=record.id or None,
        workflow=record.workflow,
        status=record.status,
        reason=record.reason or None,
        current_step=record.current_step or None,
        queue=record.queue,
        created_at=record.created_at,
        updated_at=record.updated_at,
        closed_at=record.closed_at,
        args=tuple(shown_value(payload, codec) for payload in record.arguments.positional),
        kwargs={name: shown_value(payload, codec) for name, payload in record.arguments.named.items()},
        result=None if record.result is None else shown_value(record.result, codec),
        failure=record.failure,
        metadata=dict(record.metadata),
        origin_run_id=record.origin_run_id or None,
        parent_run_id=record.parent_run_id or None,
        session_id=record.session_id or None,
        journal_length=record.journal_length,
        losses=record.losses,
        undelivered=record.undelivered,
        progress=record.progress,
        chain_run_id=record.chain_run_id or None,
        warnings=record.warnings,
    )


def describe_page(page: RunRecordPage, codec: Codec) -> RunPage:
    return RunPage(tuple(describe(record, codec) for record in page.runs), page.next_cursor or None)


def shown_value(payload: Payload, codec: Codec) -> Any:
    """The value for people: as JSON, or a text in its place when it is encoded in another way."""
    try:
        return codec.decode(payload, Any, what="a value")
    except CodecMissing as missing:
        return f"<{len(payload.data)} bytes, encoded as {missing.encoding}>"
    except PayloadNotSerializable as problem:
        return f"<{len(payload.data)} bytes: {problem.reason}>"
