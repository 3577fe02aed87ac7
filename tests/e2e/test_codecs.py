"""Payload codecs with a real coordinator: encryption, rotation of keys, compression, offloading, pickle. F58."""

import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from holdfast import (
    App,
    CodecMissing,
    Context,
    CoordinatorUnavailable,
    InvalidRequest,
    PayloadNotSerializable,
    RunConflict,
    RunFailed,
    StepFailed,
    constant,
    receive,
)
from holdfast.client import Client, RunHandle
from holdfast.codecs import AesGcm, Compress, Offload, Pickle
from holdfast_coordinator.domain.rows import TaskState
from holdfast_coordinator.store.migrate import cell_schema
from tests.support.otlp_sink import OtlpSink, otlp_sink
from tests.support.processes import module_run
from tests.support.watching import kinds, until, until_status

from .conftest import Coordinator, WorkerFactory, WorkerProcessFactory, replicas

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(60),
    pytest.mark.feature("F58"),
]

SECRET = "sesame-7f3a"
FIRST, SECOND = {"2026-11": b"1" * 32}, {"2026-12": b"2" * 32}

ELSEWHERE = "coded-elsewhere"

JOURNAL, TASKS = (f"{cell_schema('00')}.{table}" for table in ("journal", "step_tasks"))

app = App("coded", retries=0, backoff=constant(0))
attempts: list[str] = []


@dataclass
class Parcel:
    content: str


class Unplain:
    """Nothing that JSON has."""

    def __init__(self, content: str) -> None:
        self.content = content

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unplain) and self.content == other.content

    __hash__ = None  # type: ignore[assignment]


@app.step
async def wrap(content: str, times: int = 1) -> Parcel:
    return Parcel(content * times)


@app.step(placement="queued")
async def unwrap(parcel: Parcel) -> str:
    attempts.append(parcel.content)
    return parcel.content


@app.step(queue=ELSEWHERE)
async def unwrap_elsewhere(parcel: Parcel) -> str:
    attempts.append(parcel.content)
    return parcel.content


@app.step(retries=1)
async def saves(content: str, ctx: Context[None]) -> str:
    if ctx.saved is None:
        await ctx.save([content])
        raise ValueError(f"{content} was saved")
    return str(ctx.saved[0])


@app.step
async def loses(content: str) -> None:
    raise LookupError(f"{content} is gone")


@app.workflow
async def child(content: str) -> str:
    return content


@app.workflow
async def everything(content: str) -> dict[str, str]:
    parcel = await wrap(content)
    try:
        await loses(parcel.content)
    except StepFailed as failed:
        lost = failed.message
    return {
        "queued": await unwrap(parcel),
        "saved": await saves(content),
        "child": await child(content),
        "signal": await receive("word", str),
        "lost": lost,
    }


@app.workflow
async def fails(content: str) -> None:
    await loses(content)


@app.workflow
async def waits(content: str) -> list[str]:
    first = await wrap(content)
    word = await receive("word", str)
    return [first.content, word, await unwrap(Parcel(content))]


@app.workflow
async def sends_elsewhere(content: str) -> str:
    return await unwrap_elsewhere(Parcel(content))


@app.workflow
async def large(content: str, times: int) -> int:
    return len((await wrap(content, times)).content)


@app.workflow
async def hands_back(value: Any) -> Any:
    return value


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sink() -> AsyncIterator[OtlpSink]:
    async with otlp_sink() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def coordinator(module_database: str, sink: OtlpSink) -> AsyncIterator[Coordinator]:
    async with replicas(module_database, "--otlp", sink.url) as serving:
        yield serving


def dump(database_url: str, *, of: str = "") -> list[str]:
    """Every row of every table as text, bytes as hex. of: only rows with this text."""
    with psycopg.connect(database_url) as connection:
        tables = connection.execute(
            "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables "
            "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        return [
            f"{table}: {row}"
            for (table,) in tables
            for (row,) in connection.execute(f"SELECT t::text FROM {table} t").fetchall()
            if of in row
        ]


def holding(rows: list[str], text: str) -> list[str]:
    return [row for row in rows if text in row or text.encode().hex() in row]


def connect(coordinator: Coordinator, *codecs: Any) -> Any:
    return Client.connect(coordinator.address, codecs=codecs)


async def stall_reason(run: RunHandle[Any]) -> str:
    await until_status(run, "stalled")
    return (await run.describe()).reason or ""


async def play_everything(client: Client, worker: WorkerFactory, queue: str) -> None:
    """Runs in which the secret is whatever a value can be."""
    async with worker(client=client, workflows=[app]):
        run = await client.start(everything.with_options(queue=queue), SECRET)
        await run.signal("word", SECRET)
        result = await run.result(timeout=30)
        assert result == dict.fromkeys(("queued", "saved", "child", "signal"), SECRET) | {"lost": f"{SECRET} is gone"}
        failing = await client.start(fails.with_options(queue=queue), SECRET)
        with pytest.raises(RunFailed) as failed:
            await failing.result(timeout=30)
    assert failed.value.message == f"{SECRET} is gone"
    assert SECRET in failed.value.traceback
    assert isinstance(failed.value.__cause__, LookupError)
    history = json.dumps([repr(entry) for entry in await failing.history()])
    assert SECRET in history, "who has the key sees all of it"


async def test_with_encryption_no_table_and_no_span_holds_anything_plain(
    coordinator: Coordinator, sink: OtlpSink, worker: WorkerFactory, queue: str
) -> None:
    async with connect(coordinator, Compress(), AesGcm(FIRST)) as client:
        await play_everything(client, worker, queue)

    async def spans() -> set[str]:
        return {span.name for span in sink.spans}

    await until(spans, lambda names: {"run everything", "run fails", "attempt loses", "step unwrap"} <= names)
    assert holding(dump(coordinator.database_url), SECRET) == []
    assert [span.name for span in sink.spans if SECRET.encode() in span.raw] == []


async def test_without_encryption_the_same_tables_and_spans_do_hold_it(
    coordinator: Coordinator, sink: OtlpSink, worker: WorkerFactory, queue: str
) -> None:
    """So that the search above would find something."""
    async with connect(coordinator) as client:
        await play_everything(client, worker, queue)

    async def spans() -> list[str]:
        return [span.name for span in sink.spans if SECRET.encode() in span.raw]

    await until(spans, lambda names: "attempt loses" in names)
    found = {row.partition(":")[0].rpartition(".")[2] for row in holding(dump(coordinator.database_url), SECRET)}
    assert {"runs", "journal", "run_results"} <= found


async def test_a_new_key_takes_over_while_runs_of_the_old_one_are_open(
    coordinator: Coordinator, worker: WorkerFactory, queue: str
) -> None:
    async with connect(coordinator, AesGcm(FIRST)) as client, worker(client=client, workflows=[app]):
        run = await client.start(waits.with_options(queue=queue), SECRET)
        await until_status(run, "suspended")
    both = AesGcm({**FIRST, **SECOND}, current="2026-12")
    async with connect(coordinator, both) as client, worker(client=client, workflows=[app]):
        again: RunHandle[Any] = client.get(run.run_id)
        await again.signal("word", "hello")
        assert await again.result(timeout=20) == [SECRET, "hello", SECRET]
    rows = dump(coordinator.database_url, of=run.run_id)
    assert holding(rows, "aes-gcm/2026-11")
    assert holding(rows, "aes-gcm/2026-12")
    async with connect(coordinator, AesGcm(FIRST)) as client:
        with pytest.raises(CodecMissing, match="does not have AesGcm with the key '2026-12'"):
            await client.get(run.run_id).result(timeout=5)
        described = await client.get(run.run_id).describe()
    assert described.args == (SECRET,)
    assert "aes-gcm/2026-12" in str(described.result)


@pytest.mark.parametrize("wrong", [(), (AesGcm(SECOND),), (AesGcm({"2026-11": b"3" * 32}),)], ids=str)
async def test_a_worker_without_the_key_stalls_the_run_and_says_so_and_nothing_is_lost(
    wrong: tuple[Any, ...], coordinator: Coordinator, worker: WorkerFactory, queue: str
) -> None:
    async with connect(coordinator, AesGcm(FIRST)) as client:
        run = await client.start(waits.with_options(queue=queue), SECRET)
        async with worker(client=client, workflows=[app], codecs=wrong):
            reason = await stall_reason(run)
        assert "encoded as json+aes-gcm/2026-11" in reason
        assert "give it that key: codecs=[AesGcm({'2026-11': ...})]" in reason
        await run.signal("word", "hello")
        await run.resume()
        async with worker(client=client, workflows=[app]):
            assert await run.result(timeout=20) == [SECRET, "hello", SECRET]


async def test_a_signal_that_no_worker_of_the_run_reads_is_set_aside_and_the_run_waits_on(
    coordinator: Coordinator, worker: WorkerFactory, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It comes while no worker is there that could say so: then nobody can refuse it to its sender."""
    async with connect(coordinator, AesGcm(SECOND)) as other, connect(coordinator, AesGcm(FIRST)) as client:
        async with worker(client=client, workflows=[app]):
            run = await client.start(waits.with_options(queue=queue), SECRET)
            await until_status(run, "suspended")
        await other.get(run.run_id).signal("word", "hello")
        async with worker(client=client, workflows=[app]):
            aside = await until(lambda: set_aside(run), bool)
            await run.signal("word", "again")
            assert await run.result(timeout=20) == [SECRET, "again", SECRET]
        encoding = "encoded as json+aes-gcm/2026-12, which this worker does not read"
        assert [entry.problem for entry in aside] == [encoding]
        assert f"signal word was set aside and the run waits on: {encoding}" in caplog.text
        seen = [one.type for one in await other.get(run.run_id).history() if '"hello"' in repr(one)]
        assert seen == ["MailConsumed"], "its payload stays in the history, for who has the key"


@pytest.mark.feature("F96")
async def test_a_signal_that_no_living_worker_reads_is_refused_to_its_sender_until_one_does(
    coordinator: Coordinator, worker: WorkerFactory, queue: str
) -> None:
    async with connect(coordinator, AesGcm(SECOND)) as other, connect(coordinator, Compress(), AesGcm(FIRST)) as client:
        async with worker(client=client, workflows=[app]):
            run = await client.start(waits.with_options(queue=queue), SECRET)
            await until_status(run, "suspended")
            before = await kinds(run)
            with pytest.raises(InvalidRequest) as refused:
                await other.get(run.run_id).signal("word", "hello")
            assert str(refused.value) == (
                "signal.payload: is encoded as json+aes-gcm/2026-12, "
                f"and the workers of queue {queue!r} that run waits "
                "read aes-gcm/2026-11, json, zlib; give them the codec or the key before those who send"
            )
            assert await kinds(run) == before
        async with worker(client=client, workflows=[app], codecs=[AesGcm({**SECOND, **FIRST})]):
            await other.get(run.run_id).signal("word", "hello")
            assert await run.result(timeout=20) == [SECRET, "hello", SECRET]


async def set_aside(run: RunHandle[Any]) -> list[Any]:
    return [one.entry for one in await run.history() if one.type == "SignalSetAside"]


async def test_a_queued_step_that_a_worker_cannot_read_is_left_to_others(
    coordinator: Coordinator, worker: WorkerFactory, queue: str
) -> None:
    """The worker of the steps has no key at first; what it gives back counts as no failure and no loss."""

    async def times_claimed() -> int:
        with psycopg.connect(coordinator.database_url) as connection:
            query = f"SELECT attempt FROM {TASKS} WHERE run_id = %s AND state = {int(TaskState.READY)}"
            found = connection.execute(query.encode(), (run.run_id,)).fetchone()
        return 0 if found is None else int(found[0])

    attempts.clear()
    async with connect(coordinator, AesGcm(FIRST)) as client, worker(client=client, workflows=[app]):
        async with worker(client=client, queue=ELSEWHERE, steps=[unwrap_elsewhere], codecs=()):
            run = await client.start(sends_elsewhere.with_options(queue=queue), SECRET)
            await until(times_claimed, lambda times: times == 1, seconds=20)
        assert attempts == []
        async with worker(client=client, queue=ELSEWHERE, steps=[unwrap_elsewhere]):
            assert await run.result(timeout=40) == SECRET
    assert attempts == [SECRET]


@app.step(retries=0)
async def fails_once(content: str) -> str:
    attempts.append(content)
    if len(attempts) == 1:
        raise LookupError(f"{content} is not there yet")
    return content


@app.workflow
async def goes_on(content: str) -> str:
    parcel = await wrap(content)
    return await fails_once(parcel.content)


async def test_a_failed_run_with_hidden_errors_is_retried_at_its_failed_step(
    coordinator: Coordinator, worker: WorkerFactory, queue: str
) -> None:
    attempts.clear()
    async with connect(coordinator, AesGcm(FIRST)) as client, worker(client=client, workflows=[app]):
        run = await client.start(goes_on.with_options(queue=queue), SECRET)
        with pytest.raises(RunFailed, match="is not there yet"):
            await run.result(timeout=20)
        again = await run.retry()
        assert await again.result(timeout=20) == SECRET
        page = await client.list(status="failed", workflow="goes_on")
    assert [one.failure.message for one in page if one.failure is not None] == [f"{SECRET} is not there yet"]
    assert attempts == [SECRET, SECRET]


async def test_equal_starts_are_one_run_and_others_a_conflict_whatever_the_nonce(
    coordinator: Coordinator, worker: WorkerFactory, queue: str
) -> None:
    async with connect(coordinator, AesGcm(FIRST)) as client, worker(client=client, workflows=[app]):
        asked = hands_back.with_options(queue=queue, id=f"{queue}-once")
        first = await client.start(asked, {"b": 1, "a": 2})
        again = await client.start(asked, {"a": 2, "b": 1})
        assert (first.run_id, await again.result(timeout=10)) == (again.run_id, {"a": 2, "b": 1})
        with pytest.raises(RunConflict):
            await client.start(asked, {"a": 3, "b": 1})


async def test_compression_makes_rows_smaller(coordinator: Coordinator, worker: WorkerFactory, queue: str) -> None:
    sizes = []
    for codecs in ((), (Compress(),)):
        async with connect(coordinator, *codecs) as client, worker(client=client, workflows=[app]):
            run = await client.start(large.with_options(queue=queue), SECRET, 10_000)
            assert await run.result(timeout=20) == 10_000 * len(SECRET)
        with psycopg.connect(coordinator.database_url) as connection:
            found = connection.execute(
                f"SELECT sum(octet_length(entries)) FROM {JOURNAL} WHERE run_id = %s", (run.run_id,)
            ).fetchone()
            assert found is not None
            sizes.append(found[0])
    assert sizes[0] > 100_000
    assert sizes[1] < 2_000


async def test_pickles_are_refused_unless_they_are_asked_for(
    coordinator: Coordinator, worker: WorkerFactory, queue: str
) -> None:
    value = Unplain("x")
    asked = hands_back.with_options(queue=queue)
    async with connect(coordinator) as plain, connect(coordinator, Pickle()) as trusting:
        with pytest.raises(PayloadNotSerializable):
            await plain.start(asked, value)
        run = await trusting.start(asked, value)
        async with worker(client=plain, workflows=[app]):
            reason = await stall_reason(run)
        assert "a value is encoded as pickle" in reason
        assert "codecs=[Pickle()]" in reason
        await run.resume()
        async with worker(client=trusting, workflows=[app]):
            assert await run.result(timeout=20) == value
        with pytest.raises(CodecMissing, match="pickle"):
            await plain.get(run.run_id).result(timeout=5)


async def test_large_values_are_kept_in_a_store_and_only_their_digest_in_postgres(
    coordinator: Coordinator, worker: WorkerFactory, queue: str, tmp_path: Path
) -> None:
    content = os.urandom(5 * 1024 * 1024).hex()
    codecs = AesGcm(FIRST), Offload(f"file://{tmp_path}/payloads")
    async with connect(coordinator, *codecs) as client, worker(client=client, workflows=[app]):
        run = await client.start(waits.with_options(queue=queue), content)
        await run.signal("word", "hello")
        result = await run.result(timeout=40)
    assert [len(one) for one in result] == [len(content), len("hello"), len(content)]
    assert result[0] == content
    assert sum(map(len, dump(coordinator.database_url, of=run.run_id))) < 100_000
    stored = [path for path in (tmp_path / "payloads").rglob("*") if path.is_file()]
    assert stored
    assert all(content[:100].encode() not in path.read_bytes() for path in stored)
    async with connect(coordinator, codecs[0], Offload(f"file://{tmp_path}/elsewhere")) as client:
        with pytest.raises(CodecMissing, match=r"does not have object [0-9a-f]{12} of the store"):
            await client.get(run.run_id).result(timeout=5)


async def test_the_command_line_takes_codecs_and_says_what_is_missing(
    coordinator: Coordinator, process_worker: WorkerProcessFactory, queue: str
) -> None:
    codecs = ["--codecs", "tests.support.shop_codecs:make"]
    to = ["--address", coordinator.address]
    async with process_worker("tests.support.flows_codecs", options=codecs) as process:
        await process.wait_for_line("ready")
        given = ["--input", f'"{SECRET}"', "--queue", queue, "--id", f"{queue}-shouts"]
        code, output = await module_run("holdfast", "run", "shouts", *given, *codecs, *to)
        assert (code, f'"{SECRET.upper()}"' in output) == (0, True), output
    code, output = await module_run("holdfast", "runs", "show", f"{queue}-shouts", *codecs, *to)
    assert SECRET.upper() in output
    code, output = await module_run("holdfast", "runs", "history", f"{queue}-shouts", "-o", "json", *codecs, *to)
    assert SECRET.upper() in output
    code, output = await module_run("holdfast", "runs", "show", f"{queue}-shouts", *to)
    assert code == 0
    assert SECRET.upper() not in output
    assert "encoded as json+aes-gcm/test" in output
    assert holding(dump(coordinator.database_url, of=f"{queue}-shouts"), SECRET) == []


class OwnStore:
    """A codec of a user's own, whose store can be away."""

    name = "own-store"
    hides = False
    blocks = True

    def __init__(self) -> None:
        self.is_away = False
        self.refused = 0

    def encode(self, data: bytes) -> tuple[str, bytes] | None:
        if self.is_away:
            self.refused += 1
            raise ConnectionError("the store is away")
        return "", data[::-1]

    def decode(self, text: str, data: bytes) -> bytes:
        return data[::-1]


async def test_a_store_that_is_away_delays_a_report_and_loses_nothing(
    coordinator: Coordinator, worker: WorkerFactory, queue: str
) -> None:
    store, executed = OwnStore(), []
    outage = App("store-outage", retries=0)

    @outage.step
    async def goes_away(text: str) -> str:
        executed.append(text)
        store.is_away = True
        return text.upper()

    @outage.workflow
    async def outlives_it(text: str) -> str:
        return await goes_away(text)

    async def refused() -> int:
        return store.refused

    async with connect(coordinator, store) as client, worker(client=client, workflows=[outage]):
        run = await client.start(outlives_it.with_options(queue=queue), "word")
        await until(refused, lambda count: count >= 2)
        store.is_away = False
        assert await run.result(timeout=20) == "WORD"
        store.is_away = True
        with pytest.raises(CoordinatorUnavailable, match="the store of a payload codec cannot be reached"):
            await client.start(outlives_it.with_options(queue=queue), "other")
    assert executed == ["word"]
