"""What logging inside steps and workflows says of its run, whatever handlers there are, and its silence in replays."""

import asyncio
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from holdfast import traces
from holdfast.authoring.apps import App
from holdfast.channel.leases import Lease, QueuedAttempt, Work
from holdfast.definitions.context import Context
from holdfast.journal import Arguments, RunTrace, TimerFired, TraceContext
from holdfast.logs import NO_FACTS, JsonLines, Lines, configure_logging
from holdfast.testing import run_local
from holdfast.worker.log_facts import facts_in_logs
from tests.support.worker_desk import Desk, Run

ROOT = traces.SpanContext(bytes.fromhex("ab" * 16), bytes.fromhex("cd" * 8))
log = logging.getLogger("shop")
app = App("logging")


class Kept(logging.Handler):
    """Keeps every record that it is given."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def kept() -> Iterator[list[logging.LogRecord]]:
    handler = Kept()
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    with facts_in_logs():
        yield handler.records
    log.removeHandler(handler)
    log.setLevel(logging.NOTSET)


def facts_of(record: logging.LogRecord) -> dict[str, Any]:
    return {name: vars(record)[name] for name in NO_FACTS}


@app.step
async def charge() -> None:
    log.info("charged %s", "card", extra={"attempt": "third", "amount": 5})


@app.step
def render(ctx: Context[None]) -> None:
    log.info("rendered")
    ctx.log.info("said with the context", extra={"pages": 3})


@app.workflow
async def order() -> None:
    log.info("begins")
    await charge()
    await render.with_options(step_id="pdf-1")()


@app.workflow
async def forgetful() -> None:
    async def fail() -> None:
        raise ValueError("unheard")

    task = asyncio.create_task(fail())
    await charge()
    assert task.done()


@app.workflow
async def sleeper() -> None:
    try:
        for x in range(3):
            log.info("turn %d", x)
            await asyncio.sleep(3600)
        log.info("ends")
    finally:
        log.info("cleans up")


async def done(desk: Desk, run: Run) -> None:
    await desk.until(lambda: run.close is not None)


@pytest.mark.feature("F121")
async def test_records_say_their_run_step_and_attempt(kept: list[logging.LogRecord]) -> None:
    desk = Desk(app)
    run = desk.start("order", trace=RunTrace(TraceContext(traces.format_traceparent(ROOT)), timedelta(hours=24)))
    await done(desk, run)
    begins, charged, rendered = map(facts_of, kept)
    of_run = {"run_id": run.run_id, "workflow_name": "order", "trace_id": ROOT.trace_id.hex()}
    assert begins == NO_FACTS | of_run | {"span_id": ROOT.span_id.hex()}
    first = traces.attempt_context(ROOT, run.run_id, 1, 1).span_id.hex()
    of_step = {"step_name": "charge", "step_number": 1, "step_id": "1", "attempt": "third", "span_id": first}
    assert charged == of_run | of_step
    second = traces.attempt_context(ROOT, run.run_id, 2, 1).span_id.hex()
    of_step = {"step_name": "render", "step_number": 2, "step_id": "pdf-1", "attempt": 1, "span_id": second}
    assert rendered == of_run | of_step


async def test_records_of_a_run_that_is_not_traced_name_no_trace(kept: list[logging.LogRecord]) -> None:
    desk = Desk(app)
    await done(desk, desk.start("order"))
    assert {(record.trace_id, record.span_id) for record in kept} == {("", "")}


async def test_a_queued_attempt_is_named_too(kept: list[logging.LogRecord]) -> None:
    desk = Desk(app)
    claim = QueuedAttempt("run_q", 3, 2, 7, "render", Arguments(), "order", *[datetime.now(UTC)] * 3, step_id="pdf-9")
    desk.crew.work_arrived(Work(attempts=(claim,)))
    await desk.until(lambda: any(report.attempts for report in desk.reports))
    (record,) = kept
    assert (record.run_id, record.step_number, record.step_id, record.attempt) == ("run_q", 3, "pdf-9", 2)


@pytest.mark.feature("F121")
async def test_a_local_run_logs_with_its_facts(kept: list[logging.LogRecord]) -> None:
    run = await run_local(order)
    assert {record.run_id for record in kept} == {run.run_id}
    assert [record.step_name for record in kept] == ["", "charge", "render"]


async def test_the_error_of_a_task_that_nobody_awaits_says_its_run() -> None:
    handler = Kept()
    logger = logging.getLogger("holdfast.workflow")
    logger.addHandler(handler)
    with facts_in_logs():
        run = await run_local(forgetful)
    logger.removeHandler(handler)
    (record,) = handler.records
    assert facts_of(record) == NO_FACTS | {"run_id": run.run_id, "workflow_name": "forgetful"}
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)


async def test_what_a_call_says_itself_goes_first_and_is_no_error(kept: list[logging.LogRecord]) -> None:
    log.info("outside of every run", extra={"run_id": "mine", "span_id": 7})
    assert facts_of(kept[0]) == NO_FACTS | {"run_id": "mine", "span_id": 7}


async def test_the_log_of_a_context_has_its_facts_and_those_of_the_call() -> None:
    handler = Kept()
    logger = logging.getLogger("holdfast.step.render")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    Context(run_id="run_1", workflow="order", step="render", attempt=2).log.info("drawn", extra={"pages": 3})
    logger.removeHandler(handler)
    values = vars(handler.records[0])
    assert (values["run_id"], values["workflow_name"], values["step_name"]) == ("run_1", "order", "render")
    assert (values["attempt"], values["pages"]) == (2, 3)


# Replays


async def wake(desk: Desk, run: Run, timer: int) -> None:
    """Fires a timer of a suspended run whose code is no longer in memory."""
    await desk.until(lambda: run.state == "suspend")
    desk.crew.runs._cache.clear()
    run.post(TimerFired(timer))
    desk.hand(run)


async def test_replayed_code_logs_nothing_again_and_dropped_code_nothing_at_all(
    kept: list[logging.LogRecord], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(0)
    last_resort = Kept()
    monkeypatch.setattr(logging, "lastResort", last_resort)
    desk = Desk(app)
    run = desk.start("sleeper")
    for timer in (1, 2, 3):
        await wake(desk, run, timer)
    await done(desk, run)
    expected = ["turn 0", "turn 1", "turn 2", "ends", "cleans up"]
    assert [record.getMessage() for record in kept] == expected
    assert [record.getMessage() for record in caplog.records if record.name == "shop"] == expected
    kept.clear()
    for _ in range(100):
        lease = Lease(run.run_id, 99, run.workflow, len(run.entries))
        holder = desk.crew._make_holder(lease, run.arguments, desk.crew.worker, desk.crew.limits)
        holder.replay(run.entries)
        holder.drop()
    assert kept == []


async def test_the_last_resort_of_logging_hears_nothing_of_a_replay(
    monkeypatch: pytest.MonkeyPatch, kept: list[logging.LogRecord]
) -> None:
    last_resort = Kept()
    monkeypatch.setattr(logging, "lastResort", last_resort)
    monkeypatch.setattr(log, "propagate", False)
    monkeypatch.setattr(log, "handlers", [])
    desk = Desk(app)
    run = desk.start("sleeper")
    await wake(desk, run, 1)
    await desk.until(lambda: run.state == "suspend" and run.mail_count == 1)
    desk.crew.drop_everything()
    assert [record.getMessage() for record in last_resort.records] == ["turn 0", "turn 1"]


# Putting it in place


def test_logging_is_as_it_was_when_the_last_worker_has_ended() -> None:
    before = logging.Logger.handle
    with facts_in_logs():
        during = logging.Logger.handle
        with facts_in_logs():
            assert logging.Logger.handle is during
        assert logging.Logger.handle is during
    assert during is not before
    assert logging.Logger.handle is before


def test_who_wraps_logging_later_keeps_it_and_is_heard() -> None:
    before = logging.Logger.handle
    heard = []
    try:
        with facts_in_logs():
            ours = logging.Logger.handle

            def wrapped(logger: logging.Logger, record: logging.LogRecord) -> None:
                heard.append(record)
                ours(logger, record)

            logging.Logger.handle = wrapped
        assert logging.Logger.handle is wrapped
        log.warning("after the worker")
        assert not hasattr(heard[-1], "run_id"), "without a worker records are left alone"
        with facts_in_logs():
            assert logging.Logger.handle is wrapped
            log.warning("with another worker")
        assert heard[-1].run_id == ""
        logging.Logger.handle = ours
        with facts_in_logs():
            pass
    finally:
        assert logging.Logger.handle is before
        logging.Logger.handle = before


# Lines


def record_with(**values: Any) -> logging.LogRecord:
    return logging.makeLogRecord(
        {"name": "shop", "levelname": "INFO", "msg": "charged %s", "args": ("card",), "created": 0.5, **values}
    )


IN_A_STEP = {
    **{"run_id": "run_1", "workflow_name": "order", "step_name": "charge", "step_number": 2, "step_id": "2"},
    **{"attempt": 1, "trace_id": "ab" * 16, "span_id": "cd" * 8},
}


@pytest.mark.feature("F120")
def test_a_json_line_has_the_facts_of_its_run_and_what_the_call_added() -> None:
    line = json.loads(JsonLines().format(record_with(**IN_A_STEP, amount=5)))
    assert line == {
        "time": "1970-01-01T00:00:00.500000Z",
        "level": "INFO",
        "logger": "shop",
        "message": "charged card",
        **IN_A_STEP,
        "amount": 5,
    }


def test_a_json_line_of_no_run_leaves_the_facts_out() -> None:
    assert set(json.loads(JsonLines().format(record_with(**NO_FACTS)))) == {"time", "level", "logger", "message"}


@pytest.mark.feature("F120")
@pytest.mark.parametrize("odd", [float("nan"), object(), {1: {2, 3}}, {("a", 1): 2}, "line\nbreak", b"bytes"])
def test_whatever_a_call_adds_a_json_line_is_one_line_that_parses(odd: Any) -> None:
    text = JsonLines().format(record_with(odd=odd))
    assert "\n" not in text
    assert "odd" in json.loads(text, parse_constant=pytest.fail)


def test_a_json_line_tells_of_the_error() -> None:
    try:
        raise ValueError("no")
    except ValueError as error:
        line = json.loads(JsonLines().format(record_with(exc_info=(ValueError, error, error.__traceback__))))
    assert line["error_type"] == "ValueError"
    assert line["traceback"].endswith("ValueError: no")


@pytest.mark.feature("F120")
@pytest.mark.parametrize(
    ("facts", "shown", "end"),
    [
        (IN_A_STEP, True, "shop: charged card [order run_1 charge (2) attempt 1]"),
        ({"run_id": "run_1", "workflow_name": "order"}, True, "shop: charged card [order run_1]"),
        (IN_A_STEP, False, "shop: charged card"),
        ({}, True, "shop: charged card"),
    ],
)
def test_a_line_of_text_ends_with_where_it_comes_from(facts: dict[str, Any], shown: bool, end: str) -> None:
    assert Lines(show_context=shown).format(record_with(**facts)) == f"1970-01-01 00:00:00.500 INFO {end}"


@pytest.mark.feature("F120")
async def test_configured_logging_writes_what_steps_say(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    path = tmp_path / "shop.log"
    try:
        configure_logging("warning")
        configure_logging("info", path, json_logs=True)
        assert len(root.handlers) == len(handlers) + 1
        with pytest.raises(ValueError, match="LOUD"):
            configure_logging("loud")
        run = await run_local(order)
    finally:
        for handler in set(root.handlers) - set(handlers):
            root.removeHandler(handler)
            handler.close()
        root.setLevel(level)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    said = [line for line in lines if line["logger"] == "shop"]
    assert [line.get("step_name") for line in said] == [None, "charge", "render"]
    assert {line["run_id"] for line in said} == {run.run_id}
    assert all(line["step_id"] for line in said[1:])
    assert [line["pages"] for line in lines if line["logger"] == "holdfast.step.render"] == [3]


@pytest.mark.parametrize("json_logs", [False, True])
def test_a_text_that_utf8_does_not_have_is_still_written_to_a_file(tmp_path: Any, json_logs: bool) -> None:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    path = tmp_path / "shop.log"
    try:
        configure_logging("info", path, json_logs=json_logs)
        log.info("file \udcff")
    finally:
        for handler in set(root.handlers) - set(handlers):
            root.removeHandler(handler)
            handler.close()
        root.setLevel(level)
    line = path.read_text(encoding="utf-8")
    assert r"file \udcff" in line
    assert not json_logs or json.loads(line)["message"] == "file \udcff"


def test_standard_error_is_written_to_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        configure_logging()
        log.info("hello")
    finally:
        for handler in set(root.handlers) - set(handlers):
            root.removeHandler(handler)
        root.setLevel(level)
    assert capsys.readouterr().err.endswith("INFO shop: hello\n")
