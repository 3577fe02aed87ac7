"""Which encodings of signals are refused to their senders, by what the workers of a run have said that they read."""

from dataclasses import replace

import pytest

from holdfast_coordinator.domain.rows import RunRow
from holdfast_coordinator.engine.attachments import Attachment
from holdfast_coordinator.engine.matcher import Matcher
from holdfast_coordinator.engine.signal_checks import SignalChecks
from holdfast_coordinator.store.control_port import SessionRow
from tests.support.memory_control_store import MemoryControlStore
from tests.unit.engine.test_wait_reasons import AT

RUN = RunRow("run_00" + "0" * 26, "default", "order", "orders", AT, b"", b"")
CODED = "json+zlib+aes-gcm/2026-12"
SESSION = SessionRow("s-1", "default", "orders", "a", 1, "b", "h", 1, 1, AT, AT, ("order",))


async def refusal(
    *reads: tuple[str, ...], encoding: str = CODED, here: tuple[str, ...] | None = None, **other: object
) -> str:
    """What the sender is told, with a session of another replica for each of `reads`, and one of this one."""
    control, matcher = MemoryControlStore(), Matcher(silent_max_seconds=5)
    for number, names in enumerate(reads):
        control.rows[f"s-{number}"] = replace(SESSION, session_id=f"s-{number}", encodings=names, **other)  # type: ignore[arg-type]
    if here is not None:
        matcher.attach(
            Attachment(
                "own", 1, namespace="default", queue="orders", workflows=["order"], steps=[], build="b", encodings=here
            )
        )
    problem = await SignalChecks(control, matcher).problem(RUN, "go", b"1", encoding)
    return "" if problem is None else str(problem)


@pytest.mark.feature("F96")
async def test_what_no_living_session_of_the_run_reads_is_refused_with_what_they_read() -> None:
    said = await refusal(("json", "aes-gcm/2026-11"), ("json", "zlib"))
    assert "is encoded as json+zlib+aes-gcm/2026-12, and the workers of queue 'orders' that run order read " in said
    assert "aes-gcm/2026-11, json, zlib; give them the codec or the key before those who send" in said


@pytest.mark.parametrize(
    ("reads", "encoding"),
    [
        ([("json",), ("json", "zlib", "aes-gcm/2026-12")], CODED),
        ([("json", "zlib", "aes-gcm")], CODED),
        ([("json",), ()], CODED),
        ([], CODED),
        ([("zlib",)], ""),
        ([("zlib",)], "json"),
    ],
    ids=["one reads it", "all keys", "one does not say", "nobody is there", "plain", "plain by name"],
)
async def test_everything_else_is_taken(reads: list[tuple[str, ...]], encoding: str) -> None:
    assert await refusal(*reads, encoding=encoding) == ""


async def test_sessions_of_other_queues_and_other_workflows_do_not_count() -> None:
    assert await refusal(("json",), queue="elsewhere") == ""
    assert await refusal(("json",), workflows=("refund",)) == ""


async def test_a_session_of_this_replica_that_reads_it_is_enough_without_a_look_at_the_others() -> None:
    assert await refusal(("json",), here=("json", "zlib", "aes-gcm/2026-12")) == ""
    assert await refusal(("json",), here=("json",)) != ""
