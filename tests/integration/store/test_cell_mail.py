"""Mail and journals of every cell store: the same suite on Postgres and on the model."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.api.v1 import journal_pb2, value_pb2
from holdfast.statuses import RunStatus
from holdfast.wire import set_time
from holdfast_coordinator.domain.changes import Changes
from holdfast_coordinator.domain.mail import MailKind, MailRow, SignalMail
from holdfast_coordinator.domain.rows import (
    JournalRow,
    MailConsumedEntry,
    MailUndeliveredEntry,
    ProgressRow,
    PublishedRow,
    RunResult,
    Side,
)
from holdfast_coordinator.domain.snapshot import MailWanted, Reads
from holdfast_coordinator.store.port import (
    CellStore,
)
from holdfast_coordinator.store.statements_journals import NEWEST_ROW_BYTES_MAX, NEWEST_ROWS
from holdfast_coordinator.wire.journals import journal_message
from tests.support.store_rows import (
    ENTRY,
    T0,
    appending,
    at,
    open_run,
    read,
    starting,
    task,
    write,
)


async def test_mail_is_read_in_order_and_leaves_when_it_is_taken(store: CellStore) -> None:
    mail = [
        MailRow("r1", number, MailKind.SIGNAL, at(number), SignalMail(f"s{number}", b""), b"\x0a\x01t")
        for number in (1, 2, 3)
    ]
    changes = starting(open_run("r1", mail_next=4))
    changes.mail_added.extend(mail)
    await write(store, changes)
    assert (await read(store, Reads(lock_runs={"r1"}))).mail == {}
    found = (await read(store, Reads(lock_runs={"r1"}, mail={"r1": MailWanted(all=True)}))).mail["r1"]
    assert [(row.number, row.kind, row.arrived_at) for row in found] == [
        (number, MailKind.SIGNAL, at(number)) for number in (1, 2, 3)
    ]
    assert isinstance(found[0].body, bytes)
    message = journal_pb2.Mail.FromString(found[0].body)
    assert (message.signal.name, message.trace.traceparent) == ("s1", "t")
    entry = MailConsumedEntry(at(5), found[0])
    await write(store, Changes(mail_taken=[("r1", 1)], journal=[JournalRow("r1", 3, 2, 1, 1, [ENTRY, entry])]))
    assert [row.number for row in await store.mail_after("r1", 0)] == [2, 3]
    assert [row.number for row in await store.mail_after("r1", 2)] == [3]
    page, more = await store.journal("r1", 1, 10_000)
    (joined,) = page[0].entries
    entries = journal_pb2.JournalRow.FromString(joined).entries  # type: ignore[arg-type]
    assert not more
    assert [entries[1].mail_consumed.number, entries[1].mail_consumed.mail.number, len(entries)] == [1, 1, 2]
    assert entries[1].mail_consumed.mail.signal.name == "s1"
    assert entries[1].mail_consumed.mail.arrived_at.ToDatetime() == at(1).replace(tzinfo=None)


async def test_progress_is_replaced_read_by_run_and_goes_with_its_run(store: CellStore) -> None:
    for run_id in ("r1", "r2"):
        await write(store, starting(open_run(run_id, side=Side.PROGRESS)))
    first, other = ProgressRow("r1", 1, 1, b"one"), ProgressRow("r2", 1, 1, b"other")
    await write(store, Changes(progress={("r1", 1): first, ("r2", 1): other}))
    last, second = ProgressRow("r1", 1, 2, b"two"), ProgressRow("r1", 2, 1, b"")
    await write(store, Changes(progress={("r1", 1): last, ("r1", 2): second}))
    assert await store.progress_of(["r1", "r2", "r3"]) == [last, second, other]
    result = RunResult("r1", "default", RunStatus.COMPLETED, T0)
    late = ProgressRow("r1", 3, 1, b"late")
    await write(store, Changes(closed={"r1": result}, swept={"r1": Side.PROGRESS}, progress={("r1", 3): late}))
    assert await store.progress_of(["r1", "r2"]) == [other]


async def test_a_published_value_is_replaced_read_by_key_and_stays_when_its_run_is_closed(store: CellStore) -> None:
    for run_id in ("r1", "r2"):
        await write(store, starting(open_run(run_id)))
    first, other = PublishedRow("r1", "share", b"one"), PublishedRow("r2", "share", b"other")
    await write(store, Changes(published={("r1", "share"): first, ("r2", "share"): other}))
    result = RunResult("r1", "default", RunStatus.COMPLETED, T0)
    last = PublishedRow("r1", "share", b"last")
    await write(store, Changes(closed={"r1": result}, swept={"r1": ~Side.NONE}, published={("r1", "share"): last}))
    asked = [("r1", "share"), ("r2", "share"), ("r1", "done"), ("r3", "share")]
    assert [await store.published_value(*one) for one in asked] == [b"last", b"other", None, None]


async def test_what_a_queued_step_has_saved_is_in_its_row(store: CellStore) -> None:
    await write(store, starting(open_run("r1", side=Side.TASKS)))
    row = task("r1", 1)
    await write(store, Changes(tasks_added={("r1", 1): row}))
    assert (await read(store, Reads(tasks={("r1", 1)}))).tasks["r1", 1].saved is None
    await write(store, Changes(tasks_updated={("r1", 1): replace(row, saved=b"page 5")}))
    assert (await read(store, Reads(tasks={("r1", 1)}))).tasks["r1", 1].saved == b"page 5"


async def test_a_journal_is_read_backward_in_whole_rows_as_far_as_their_bytes_allow(store: CellStore) -> None:
    await write(store, starting(open_run("r1")))
    rows = [JournalRow("r1", seq, 1, 1, seq, [bytes(100)]) for seq in range(2, 12)]
    await write(store, Changes(journal=rows))

    async def read_before(before: int, max_bytes: int) -> tuple[list[int], bool]:
        page, more = await store.journal_before("r1", before, max_bytes)
        return [row.seq for row in page], more

    assert await read_before(12, 250) == ([11, 10], True)
    assert await read_before(10, 1) == ([9], True)
    assert await read_before(4, 10_000) == ([3, 2, 1], False)
    assert await read_before(1, 10_000) == ([], False)


async def test_large_signals_stand_in_the_journal_whole_whether_they_were_consumed_or_left(store: CellStore) -> None:
    large = value_pb2.Payload(data=b"x" * 2_000_000).SerializeToString()
    changes = starting(open_run("r1", mail_next=4))
    changes.mail_added.extend(
        MailRow("r1", number, MailKind.SIGNAL, at(number), SignalMail(f"s{number}", large)) for number in (1, 2, 3)
    )
    await write(store, changes)
    found = await read(store, Reads(lock_runs={"r1"}, mail={"r1": MailWanted(first=1, last=1)}))
    entry = MailConsumedEntry(at(5), found.mail["r1"][0], at(4))
    await write(store, Changes(mail_taken=[("r1", 1)], journal=[JournalRow("r1", 3, 2, 1, 1, [ENTRY, entry])]))
    found = await read(store, Reads(lock_runs={"r1"}, mail={"r1": MailWanted(all=True)}))
    left = [MailUndeliveredEntry(at(6), mail) for mail in found.mail["r1"]]
    closed = RunResult("r1", "default", RunStatus.TERMINATED, at(7))
    rows = [JournalRow("r1", 5, 2, 1, 2, left), JournalRow("r1", 6, 1, 1, 3, [ENTRY])]
    await write(store, Changes(closed={"r1": closed}, swept={"r1": Side.NONE}, journal=rows))
    (first, *_), _ = await store.journal("r1", 1, 1)
    (second, *_), _ = await store.journal("r1", 3, 1)
    _, consumed = journal_message(first).entries
    assert (consumed.mail_consumed.mail.number, consumed.mail_consumed.mail.arrived_at) == (1, _timestamp(at(1)))
    assert consumed.mail_consumed.awaited_since == _timestamp(at(4))
    signals = [consumed.mail_consumed.mail, *(one.mail_undelivered.mail for one in journal_message(second).entries)]
    assert [(one.signal.name, len(one.signal.payload.data)) for one in signals] == [
        (f"s{number}", 2_000_000) for number in (1, 2, 3)
    ]


def _timestamp(at: datetime) -> Timestamp:
    made = Timestamp()
    set_time(made, at)
    return made


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (MailWanted(first=2, last=3), [2, 3]),
        (MailWanted(after=2), list(range(3, 1_003))),
        (MailWanted(first=1, last=2, after=1_199), [1, 2, 1_200]),
        (MailWanted(first=3, last=3, after=0), list(range(1, 1_001))),
        (MailWanted(after=1_200), []),
        (MailWanted(first=1, last=1, after=4, all=True), list(range(1, 1_201))),
    ],
    ids=str,
)
async def test_a_batch_reads_of_mail_what_it_journals_and_one_page_of_what_it_sends(
    store: CellStore, wanted: MailWanted, numbers: list[int]
) -> None:
    changes = starting(open_run("r1", mail_next=1_201))
    changes.mail_added.extend(
        MailRow("r1", number, MailKind.SIGNAL, T0, SignalMail("s", b"")) for number in range(1, 1_201)
    )
    await write(store, changes)
    found = (await read(store, Reads(lock_runs={"r1"}, mail={"r1": wanted}))).mail.get("r1", [])
    assert [row.number for row in found] == numbers


async def test_a_journal_page_is_whole_rows_and_at_least_one(store: CellStore) -> None:
    await write(store, starting(open_run("r1")))
    for seq in range(1, 4):
        await store.move([appending("r1", expected_seq=seq)], at=T0)
    size = len(ENTRY)
    for limit, seqs, more in ((1, [2], True), (size * 2, [2, 3], True), (size * 2 + 1, [2, 3], True)):
        page = await store.journal("r1", 1, limit)
        assert ([row.seq for row in page[0]], page[1]) == (seqs, more)
    page = await store.journal("r1", 1, size * 3)
    assert ([row.seq for row in page[0]], page[1]) == ([2, 3, 4], False)
    assert await store.journal("r1", 4, 100) == ([], False)


async def test_journals_of_leases_begin_with_all_rows_that_have_room_and_others_are_left_out(store: CellStore) -> None:
    runs = [open_run(f"r{number}") for number in range(5)]
    await write(store, starting(*runs))
    for run_id, rows in (("r0", 2), ("r1", 1), ("r2", 40)):
        for seq in range(1, 1 + rows):
            await store.move([appending(run_id, expected_seq=seq)], at=T0)

    async def read_of(run_ids: Sequence[str], max_bytes: int = 10_000) -> dict[str, tuple[list[int], bool]]:
        found = await store.journal_beginnings("s1", [(run_id, 1) for run_id in run_ids], max_bytes)
        cut.append(found.is_cut)
        return {run_id: ([row.seq for row in rows], more) for run_id, (rows, more) in found.rows.items()}

    cut: list[bool] = []
    whole = {"r2": (list(range(1, 33)), True), "r0": ([1, 2, 3], False), "r1": ([1, 2], False)}
    assert await read_of(["r2", "r0", "unknown", "r1"]) == whole
    ((first, *_), _) = await store.journal("r0", 0, 1)
    assert await read_of(["r0", "r1"], first.stored_bytes + len(ENTRY)) == {"r0": ([1, 2, 3], False)}
    assert await read_of(["r0", "r1"], 1) == {"r0": ([1], True)}
    assert cut == [False, True, True]
    for session_id, epoch in (("s2", 1), ("s1", 2)):
        assert (await store.journal_beginnings(session_id, [("r0", epoch)], 100)).rows == {}


async def test_the_newest_rows_of_runs_come_in_order_and_without_the_large_ones(store: CellStore) -> None:
    await write(store, starting(open_run("r1"), open_run("r2"), open_run("r3")))
    for seq in range(1, 12):
        await store.move([appending("r1", expected_seq=seq)], at=T0)
    large = replace(appending("r2", expected_seq=1), journal=[b"x" * (NEWEST_ROW_BYTES_MAX + 1)])
    await store.move([large], at=T0)
    rows = await store.newest_rows(["r2", "r1"])
    assert [(row.run_id, row.seq) for row in rows] == [
        *(("r1", seq) for seq in range(13 - NEWEST_ROWS, 13)),
        ("r2", 1),
    ]


async def test_mail_of_several_runs_is_read_as_far_as_its_bytes_allow(store: CellStore) -> None:
    await write(store, starting(open_run("r1"), open_run("r2"), open_run("r3")))
    letters = [
        MailRow(run_id, number, MailKind.SIGNAL, T0, SignalMail("go", b"x" * 1_000))
        for run_id in ("r1", "r2")
        for number in (1, 2, 3)
    ]
    await write(store, Changes(mail_added=letters))

    async def read_mail(wanted: list[tuple[str, int]], max_bytes: int) -> list[tuple[str, int]]:
        return [(mail.run_id, mail.number) for mail in await store.mail_of(wanted, max_bytes)]

    everything = [("r2", 2), ("r3", 0), ("r1", 1)]
    assert await read_mail(everything, 1_000_000) == [("r2", 3), ("r1", 2), ("r1", 3)]
    assert await read_mail(everything, 1_500) == [("r2", 3), ("r1", 2)]
    assert await read_mail(everything, 0) == [("r2", 3)]
    (page,) = await store.mail_of([("r1", 2)], 0)
    assert page == (await store.mail_after("r1", 2))[0]
