"""The verdict of a chaos run finds what is wrong: each checker with the smallest evidence against it."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from holdfast.api.v1 import journal_pb2
from holdfast.statuses import RunStatus
from tests.chaos import verdict
from tests.chaos.ledger import Line, recoveries
from tests.chaos.load import Call, Story, tokens_of, without_tokens
from tests.chaos.programs import Effect, Plan, Receive, Several
from tests.chaos.verdict import Evidence
from tests.support.invariants import CellRows
from tests.support.otlp_sink import ReceivedSpan

STEP = Effect(name="s1")
LINE = Line("begins", "run_1", "s1", 1, "run_1/1", "0123456789ab", 7, 10.0)
ENDS = replace(LINE, what="ends", at=10.5)


def evidence(**facts: Any) -> Evidence:
    """A run that went as its program says, but for the facts."""
    story = Story(Plan("run-1", STEP), ["run_1"], status="completed", result="s1/0@0123456789ab")
    runs = {"run_1": SimpleNamespace(id="chaos-run-1", origin_run_id=None, parent_run_id=None)}
    given: dict[str, Any] = {
        "rows": CellRows(runs=runs),  # type: ignore[arg-type]
        "dead_letters": [],
        "lines": [LINE, ENDS],
        "calls": [Call("start", "run-1", 0.0, 0.1, "acknowledged")],
        "stories": [story],
        "spans": [],
    }
    made = Evidence(**{**given, **{name: facts[name] for name in facts if name != "journals"}})
    made.journals = facts.get("journals", {"run_1": [journal()]})
    return made


def journal(*entries: journal_pb2.Entry, epoch: int = 1) -> journal_pb2.JournalRow:
    scheduled = journal_pb2.Entry(step_scheduled=journal_pb2.StepScheduled(number=1, name="effect", step_id="s1"))
    completed = journal_pb2.Entry(step_completed=journal_pb2.StepCompleted(number=1))
    completed.step_completed.result.data = b'"0123456789ab"'
    return journal_pb2.JournalRow(seq=2, epoch=epoch, entries=[scheduled, completed, *entries])


def story(**facts: Any) -> Story:
    return replace(evidence().stories[0], **facts)


def span(**facts: Any) -> ReceivedSpan:
    given: dict[str, Any] = {
        "trace_id": "t", "span_id": "a", "parent_id": "", "name": "run", "kind": "SERVER", "start_ns": 0, "end_ns": 1,
        "status": "OK", "status_message": "", "attributes": {}, "links": (), "resource": {}, "scope": "",
        "tracestate": "", "flags": 0, "raw": b"a",
    }  # fmt: skip
    return ReceivedSpan(**{**given, **facts})


def found(checker: verdict.Checker, **facts: Any) -> list[str]:
    return list(checker(evidence(**facts)))


def test_a_run_that_went_as_it_should_has_no_violation() -> None:
    assert not [text for check in verdict.CHECKERS_OF_A_RUN[1:] for text in check(evidence())]


def test_a_start_that_was_acknowledged_and_is_not_there() -> None:
    assert "run_2 was acknowledged" in found(verdict.nothing_is_lost_or_doubled, stories=[story(run_ids=["run_2"])])[0]


def test_a_run_that_nobody_asked_for() -> None:
    assert found(verdict.nothing_is_lost_or_doubled, stories=[]) == ["run_1: nobody asked for it"]


def test_a_run_without_a_result_and_a_dead_letter() -> None:
    said = found(verdict.nothing_is_stuck, stories=[story(status="")], dead_letters=["timer 1"])
    assert said == ["run-1: no result for its user, ['run_1']", "dead letter: timer 1"]


def test_another_result_than_the_programs() -> None:
    assert found(verdict.every_run_came_to_what_its_program_says, stories=[story(result="s1/9@0123456789ab")])
    assert found(verdict.every_run_came_to_what_its_program_says, stories=[story(status="failed", error="OSError")])


def test_a_cancelled_run_that_nobody_cancelled() -> None:
    check = verdict.every_run_came_to_what_its_program_says
    assert found(check, stories=[story(status="cancelled")])
    assert not found(check, stories=[story(status="cancelled", cancel="accepted")])


def test_a_cancel_that_was_accepted_and_never_arrived() -> None:
    cancelled = [story(cancel="accepted")]
    assert found(verdict.accepted_cancels_took_effect, stories=cancelled)
    mail = journal_pb2.Mail(cancel=journal_pb2.CancelRequested())
    arrived = journal_pb2.Entry(mail_undelivered=journal_pb2.MailUndelivered(number=1, mail=mail))
    assert not found(verdict.accepted_cancels_took_effect, stories=cancelled, journals={"run_1": [journal(arrived)]})


def test_a_signal_that_was_acknowledged_and_never_arrived() -> None:
    sent = Story(Plan("run-1", Receive(name="signal-1")), ["run_1"], sent=["signal-1"], status="cancelled")
    assert found(verdict.acknowledged_signals_arrived, stories=[sent])


def test_a_step_that_was_not_executed_and_one_too_many() -> None:
    two = Several(how="sequence", parts=[STEP, Effect(name="s2")])
    assert found(verdict.what_was_reached_was_executed, stories=[story(plan=Plan("run-1", two))])
    more = [LINE, ENDS, replace(LINE, step="s9")]
    assert found(verdict.what_was_reached_was_executed, lines=more)


def test_a_result_that_no_execution_gave() -> None:
    assert found(verdict.results_are_of_executions, lines=[LINE])


def test_a_finished_step_that_is_executed_again() -> None:
    again = replace(LINE, at=12.0, pid=8)
    assert "1.500 s after" in found(verdict.no_finished_step_is_executed_again, lines=[LINE, ENDS, again])[0]


def test_a_finished_step_that_is_executed_again_by_the_retry_of_its_run() -> None:
    runs = {
        "run_1": SimpleNamespace(id="chaos-run-1", origin_run_id=None, parent_run_id=None),
        "run_2": SimpleNamespace(id="chaos-run-1", origin_run_id="run_1", parent_run_id=None),
    }
    again = replace(LINE, run_id="run_2", at=12.0, pid=8)
    rows = CellRows(runs=runs)  # type: ignore[arg-type]
    assert found(verdict.no_finished_step_is_executed_again, rows=rows, lines=[LINE, ENDS, again])


def test_a_retry_that_is_refused() -> None:
    assert found(verdict.nothing_is_lost_or_doubled, stories=[story(retry="refused")])


def test_an_execution_without_any_record() -> None:
    unknown = [LINE, replace(LINE, step="s7")]
    assert "s7 was executed 1 times, 0 attempts" in found(verdict.executions_are_accounted_for, lines=unknown)[0]


def test_an_earlier_attempt_of_a_worker_that_stood_still() -> None:
    end, late = replace(ENDS, attempt=2), replace(LINE, at=12.0, pid=8)
    assert not found(verdict.no_finished_step_is_executed_again, lines=[LINE, end, late])


def test_two_keys_of_one_step_and_one_of_two() -> None:
    assert found(verdict.keys_are_of_one_step, lines=[LINE, replace(LINE, key="other")])
    assert found(verdict.keys_are_of_one_step, lines=[LINE, replace(LINE, step="s2")])


def test_more_executions_than_attempts_and_leases() -> None:
    twice = [LINE, replace(LINE, at=10.2)]
    assert found(verdict.executions_are_accounted_for, lines=twice)
    assert not found(verdict.executions_are_accounted_for, lines=twice, journals={"run_1": [journal(epoch=2)]})


def test_spans_that_are_missing_orphaned_or_there_in_two_versions() -> None:
    closed = CellRows(results=[SimpleNamespace(run_id="run_1", status=RunStatus.COMPLETED)])  # type: ignore[list-item]
    assert found(verdict.spans_are_whole, rows=closed)
    assert found(verdict.spans_are_whole, spans=[span(parent_id="b")])
    assert found(verdict.spans_are_whole, spans=[span(), span(raw=b"b")])
    assert not found(verdict.spans_are_whole, spans=[span(), span()])


def test_a_run_whose_calls_had_no_answer_proves_nothing() -> None:
    unknown = Call("start", "run-1", 0.0, 0.1, "unknown")
    assert "3 of 4 calls had no answer" in verdict.why_invalid(evidence(calls=[*evidence().calls, *[unknown] * 3]))
    assert verdict.why_invalid(evidence()) == ""


def test_tokens_are_told_from_results() -> None:
    assert tokens_of([["s1/20@0123456789ab"], "slept"]) == [("s1", "0123456789ab")]
    assert without_tokens(["s1/20@0123456789ab", "slept"]) == ["s1/20", "slept"]


def test_a_recovery_is_from_the_kill_to_the_next_execution_of_what_was_open() -> None:
    done = [replace(LINE, step="s2"), replace(LINE, step="s2", what="ends")]
    assert recoveries([*done, LINE, replace(LINE, pid=8, at=13.5)], pid=7, killed_at=11.0) == [2.5]
