"""The rules of skeleton spans one by one, where a golden tree would not say what matters."""

from datetime import timedelta

import pytest

from holdfast.api.v1 import journal_pb2
from holdfast.statuses import AttemptOutcome, ClosePolicy, RunStatus
from holdfast.traces import (
    attempt_context,
    child_context,
    detached_root,
    segment_number,
    segment_root,
    successor_root,
)
from holdfast_coordinator.telemetry.run_spans import RunSpanBuilder
from holdfast_coordinator.telemetry.spans import TEXT_BYTES_MAX, Span, SpanRules, SpanStatus, cut_text
from tests.support.golden_journals import CHILD_RUN, DECLINED, FINAL, LATE, LOST, OK, RETRY, stalled_and_resumed
from tests.support.written_journals import (
    RUN,
    T0,
    attempt,
    begins,
    child,
    closed,
    completed,
    ended,
    facts,
    failed,
    failure,
    mail,
    named_part,
    part_began,
    rows,
    scheduled,
    spans_of,
    started,
    timer,
    timer_cancelled,
)

DONE = closed(100, RunStatus.COMPLETED)


def named(spans: list[Span], name: str) -> Span:
    (found,) = [span for span in spans if span.name == name]
    return found


def names(spans: list[Span]) -> list[str]:
    return [span.name for span in spans]


def test_spans_come_out_once_each_when_what_they_describe_has_ended() -> None:
    journal = rows(
        started(),
        (1, [scheduled(0.1, 1, "a", begins=True)]),
        (1, [ended(1, 1, attempt(1, RETRY, 0.1, 1, failed=DECLINED, retry=2), alarm=True)]),
        (2, [mail(3.5, 1, arrived=3.4, retry_due={"number": 1}), begins(3.5, 1, 2)]),
        (2, [completed(4, 1, attempt(2, OK, 3.5, 4)), closed(4, RunStatus.COMPLETED)]),
    )
    trace = RunSpanBuilder(facts())
    assert [names(trace.feed(row)) for row in journal] == [
        [],
        ["run accepted"],
        ["attempt a"],
        ["retry wait", "queue wait"],
        ["attempt a", "step a", "run order"],
    ]


def test_a_row_that_is_fed_again_makes_no_span() -> None:
    journal = rows(started(), (1, [scheduled(0.1, 1, "a", begins=True)]))
    trace = RunSpanBuilder(facts())
    assert [names(trace.feed(row)) for row in (*journal, *journal)] == [[], ["run accepted"], [], []]


def test_a_missing_row_is_an_error_and_not_a_wrong_trace() -> None:
    first, _, third = rows(started(), (1, [scheduled(0.1, 1, "a")]), (1, [begins(1, 1, 1)]))
    trace = RunSpanBuilder(facts())
    trace.feed(first)
    with pytest.raises(ValueError, match="begins at entry 3, 2 is next"):
        trace.feed(third)


def test_an_entry_of_a_later_version_passes_by() -> None:
    journal = rows(started(), (1, [journal_pb2.Entry(at=DONE.at)]), (1, [DONE]))
    assert names(spans_of(facts(), journal)) == ["run accepted", "run order"]


def test_worker_and_builder_derive_the_same_ids_in_every_segment() -> None:
    later = 86_400 * 3 + 5.0
    journal = rows(
        started(),
        (1, [scheduled(later, 7, "a", begins=True), child(later, 2, "ship", CHILD_RUN)]),
        (1, [closed(later + 1, RunStatus.COMPLETED)]),
    )
    spans = spans_of(facts(), journal)
    at = T0 + timedelta(seconds=later)
    root = segment_root(facts().trace, RUN, segment_number(T0, at))

    for span, expected in (
        (named(spans, "attempt a"), attempt_context(root, RUN, 7, 1)),
        (named(spans, "child ship"), child_context(root, RUN, 2)),
    ):
        assert (span.trace_id, span.span_id) == (expected.trace_id, expected.span_id)


def test_a_child_that_may_outlive_its_parent_is_linked_to_its_own_trace() -> None:
    journal = rows(started(), (1, [child(1, 1, "ship", CHILD_RUN, policy=ClosePolicy.ABANDON)]), (1, [DONE]))
    (link,) = named(spans_of(facts(), journal), "child ship").links
    assert (link.context, link.relation) == (detached_root(facts().trace, CHILD_RUN), "child")


@pytest.mark.parametrize(("waited", "shown"), [(0.004, False), (0.005, True)])
def test_a_wait_for_a_worker_is_shown_from_five_milliseconds_on(waited: float, shown: bool) -> None:
    journal = rows(started(), (1, [scheduled(1, 1, "a"), begins(1 + waited, 1, 1)]), (1, [DONE]))
    assert ("queue wait" in names(spans_of(facts(), journal))) is shown


def waits(spans: list[Span]) -> dict[str, object]:
    """Waits for signals, by name, and how they ended."""
    return {
        span.name: dict(span.own)["holdfast.wait.outcome"] for span in spans if span.name.startswith("wait signal ")
    }


def test_a_signal_that_nobody_waits_for_is_no_wait() -> None:
    journal = rows(
        started(),
        (1, [timer(1, 1, 60, "signal a")]),
        (2, [mail(20, 1, signal={"name": "a"}), mail(30, 2, signal={"name": "b"})]),
        (2, [timer_cancelled(40, 1), DONE]),
    )
    assert waits(spans_of(facts(), journal)) == {}


def test_a_wait_without_a_limit_lasts_from_when_the_code_says_that_it_began() -> None:
    waited = mail(20, 1, arrived=19, awaited=5, signal={"name": "a"})
    spans = spans_of(facts(), rows(started(), (1, [scheduled(10, 1, "b")]), (2, [waited, DONE])))
    wait = named(spans, "wait signal a")
    assert (wait.end_ns - wait.start_ns) // 10**9 == 15
    assert waits(spans) == {"wait signal a": "received"}


@pytest.mark.parametrize(
    ("came", "outcome"),
    [
        ([mail(20, 1, signal={"name": "a"})], "received"),
        ([mail(20, 1, signal={"name": "b"})], "cancelled"),
        ([mail(20, 1, signal={"name": "a"}), mail(20, 2, signal={"name": "b"})], "received"),
        ([mail(20, 1, awaited=3, signal={"name": "a"})], "cancelled"),
        ([], "cancelled"),
    ],
)
def test_a_wait_is_over_when_its_own_signal_comes(came: list[journal_pb2.Entry], outcome: str) -> None:
    """A signal that goes to somebody else who waits for the same name ends no second wait."""
    journal = rows(started(), (1, [timer(1, 1, 60, signal="a")]), (2, [*came, timer_cancelled(20, 1), DONE]))
    others = {"wait signal a"} if came and came[0].mail_consumed.HasField("awaited_since") else set()
    found = [
        dict(span.own)["holdfast.wait.outcome"] for span in spans_of(facts(), journal) if span.name == "wait signal a"
    ]
    assert found[len(others) :] == [outcome]


def test_a_signal_of_an_earlier_transition_ends_no_wait() -> None:
    kept = [mail(1, 1, signal={"name": "a"})]
    journal = rows(started(), (1, kept), (1, [timer(2, 1, 60, signal="a")]), (1, [timer_cancelled(3, 1), DONE]))
    assert waits(spans_of(facts(), journal)) == {"wait signal a": "cancelled"}


def test_a_continued_run_links_to_the_trace_of_the_run_that_goes_on() -> None:
    done = closed(2, RunStatus.CONTINUED_AS_NEW, successor=CHILD_RUN)
    root = named(spans_of(facts(), rows(started(), (1, [done]))), "run order")
    (link,) = root.links
    assert (link.context, link.relation) == (successor_root(facts().trace, CHILD_RUN), "successor")
    assert (root.status, dict(root.own)["holdfast.run.status"]) == (SpanStatus.OK, "continued_as_new")


def test_a_part_of_the_code_is_shown_when_the_one_around_it_has_ended() -> None:
    """It must not hang below a span that may never come."""
    trace = RunSpanBuilder(facts())
    journal = rows(
        started(),
        (1, [named_part(2, 3, 2, "inner", inside=1)]),
        (1, [named_part(1, 4, 1, "outer")]),
        (1, [named_part(3.5, 5, 3, "late", inside=1)]),
    )
    found = [trace.feed(row) for row in journal]
    assert [names(spans) for spans in found] == [[], ["run accepted"], ["outer", "inner"], ["late"]]
    assert found[2][1].parent_id == found[2][0].span_id
    assert found[3][0].parent_id == facts().trace.span_id


def test_a_step_hangs_below_the_part_of_the_code_that_called_it_also_after_a_crash() -> None:
    journal = rows(
        started(),
        (1, [part_began(1, 1, 1, "checkout"), scheduled(1, 1, "charge", begins=True, span=1)]),
        (2, [ended(9, 1, attempt(1, LOST, 1, 9, session="")), begins(9, 1, 2)]),
        (2, [completed(10, 1, attempt(2, OK, 9, 10)), scheduled(10, 2, "pack", begins=True, span=1)]),
        (2, [completed(11, 2, attempt(1, OK, 10, 11)), named_part(1, 11, 1, "checkout"), DONE]),
    )
    spans = spans_of(facts(), journal)
    part = named(spans, "checkout")
    assert {named(spans, name).parent_id for name in ("step charge", "step pack")} == {part.span_id}
    assert part.parent_id == facts().trace.span_id


def test_a_step_of_a_later_segment_hangs_below_its_run_span_and_not_below_a_part_of_another_trace() -> None:
    day = 86_400.0
    journal = rows(
        started(),
        (1, [part_began(1, 1, 1, "waits"), timer(1, 1, 2 * day, part=1)]),
        (2, [mail(2 * day + 1, 1, timer={"number": 1}), scheduled(2 * day + 1, 1, "a", begins=True, span=1)]),
        (2, [completed(2 * day + 2, 1, attempt(1, OK, 2 * day + 1, 2 * day + 2))]),
        (2, [named_part(1, 2 * day + 2, 1, "waits"), DONE]),
    )
    spans = spans_of(facts(), journal)
    part, sleep, step = named(spans, "waits"), named(spans, "sleep"), named(spans, "step a")
    assert sleep.parent_id == part.span_id
    last = segment_root(facts().trace, RUN, 2)
    assert (step.trace_id, step.parent_id) == (last.trace_id, last.span_id)


def test_a_part_of_the_code_with_a_step_that_is_seen_is_seen_beyond_the_budget_too() -> None:
    journal = rows(
        started(),
        (1, [part_began(1, 1, 1, "checkout"), scheduled(1, 1, "charge", begins=True, span=1)]),
        (1, [failed(2, 1, failure("Broken"), attempt(1, FINAL, 1, 2, failed=failure("Broken")))]),
        (1, [named_part(1, 3, 1, "checkout"), DONE]),
    )
    spans = spans_of(facts(), journal, SpanRules(spans_max=0))
    assert named(spans, "step charge").parent_id == named(spans, "checkout").span_id


def test_parts_of_the_code_beyond_the_budget_hand_what_failed_inside_them_on() -> None:
    parts = [
        named_part(3, 4, 3, "broken", inside=2, error="Broken"),
        named_part(2, 5, 2, "middle", inside=1),
        named_part(1, 6, 1, "outer"),
    ]
    spans = spans_of(facts(), rows(started(), (1, parts), (1, [DONE])), SpanRules(spans_max=0))
    assert names(spans) == ["run accepted", "broken", "run order"]
    assert spans[1].parent_id == facts().trace.span_id
    assert dict(spans[2].own)["holdfast.spans.omitted"] == 2


def test_a_part_of_the_code_that_lasts_for_days_belongs_to_the_segment_in_which_it_ended() -> None:
    day = 86_400.0
    journal = rows(started(), (1, [named_part(5, 6, 2, "inner", inside=1), named_part(1, 2 * day + 5, 1, "outer")]))
    journal += rows((1, [DONE]))
    journal[-1].seq = journal[-2].seq + 1
    spans = spans_of(facts(), journal)
    last = segment_root(facts().trace, RUN, 2)
    assert {named(spans, name).trace_id for name in ("outer", "inner")} == {last.trace_id}
    (root,) = [span for span in spans if span.span_id == last.span_id]
    assert root.start_ns <= named(spans, "outer").start_ns


def test_a_failure_without_an_error_says_what_kind_of_end_it_was() -> None:
    journal = rows(
        started(),
        (1, [scheduled(1, 1, "a", begins=True)]),
        (2, [ended(9, 1, attempt(1, LOST, 1, 9, session=""))]),
        (0, [closed(9, RunStatus.TIMED_OUT)]),
    )
    spans = spans_of(facts(), journal)
    types = {span.name: dict(span.own)["error.type"] for span in spans if span.status is SpanStatus.ERROR}
    assert types == {"attempt a": "lost", "run order": "timed_out"}


@pytest.mark.parametrize("outcome", [LOST, LATE])
def test_the_attempt_of_a_lost_worker_names_it_and_not_who_found_the_loss(outcome: AttemptOutcome) -> None:
    journal = rows(
        started(),
        (1, [scheduled(1, 1, "a", begins=True)]),
        (2, [ended(9, 1, attempt(1, outcome, 1, 9, session="ses_lost", build="b1")), begins(9, 1, 2)]),
        (2, [failed(10, 1, DECLINED, attempt(2, FINAL, 9, 10, failed=DECLINED, session="ses_finder")), DONE]),
    )
    attempts = [dict(span.own) for span in spans_of(facts(), journal) if span.name == "attempt a"]
    assert [(own["holdfast.worker.id"], own["holdfast.lease.epoch"]) for own in attempts] == [
        ("ses_lost", 1),
        ("ses_finder", 2),
    ]


def test_a_queued_attempt_waits_for_its_retry_until_its_record_says_that_it_could_be_claimed() -> None:
    # The worker counts the delay from when the attempt failed, the coordinator from when that was recorded.
    attempts = [
        attempt(1, RETRY, 1, 2, failed=DECLINED, retry=5, eligible=0.5),
        attempt(2, OK, 9, 10, eligible=7.5),
    ]
    done = {"number": 1, "attempts": attempts, "result": {"data": b"1"}}
    journal = rows(started(), (1, [scheduled(0, 1, "a", queued=True)]), (2, [mail(11, 1, step_result=done), DONE]))
    spans = [span for span in spans_of(facts(), journal) if span.name.endswith("wait")]
    began_ns = facts().created_at.timestamp() * 1e9
    seconds = [(span.name, (span.start_ns - began_ns) / 1e9, (span.end_ns - began_ns) / 1e9) for span in spans]
    assert seconds == [("queue wait", 0.5, 1), ("retry wait", 2, 7.5), ("queue wait", 7.5, 9)]


def test_a_queued_attempt_says_under_which_epoch_it_was_claimed() -> None:
    done = {"number": 1, "attempts": [attempt(1, OK, 1, 2, epoch=7)]}
    journal = rows(started(), (1, [scheduled(0, 1, "a", queued=True)]), (2, [mail(3, 1, step_result=done), DONE]))
    assert dict(named(spans_of(facts(), journal), "attempt a").own)["holdfast.lease.epoch"] == 7


@pytest.mark.parametrize("letter", ["x", "ä", "漢", "🙂"])
def test_long_messages_are_cut_at_a_character(letter: str) -> None:
    cut = cut_text(letter * 2_000)
    assert TEXT_BYTES_MAX - 3 <= len(cut.encode()) <= TEXT_BYTES_MAX
    assert set(cut) == {letter}
    assert cut_text(letter) == letter


def test_messages_can_be_left_out() -> None:
    spans = spans_of(*stalled_and_resumed(), rules=SpanRules(shows_messages=False))
    shown = {name for span in spans for name, _ in span.own}
    assert "error.type" in shown
    assert shown.isdisjoint({"holdfast.error.message", "holdfast.stall.reason"})


def test_the_parent_of_a_failure_beyond_the_budget_is_exported_too() -> None:
    flaky = [
        scheduled(1, 1, "flaky", begins=True),
        ended(2, 1, attempt(1, RETRY, 1, 2, failed=DECLINED, retry=0.1)),
        begins(3, 1, 2),
        completed(4, 1, attempt(2, OK, 3, 4)),
    ]
    fine = [scheduled(5, 2, "fine", begins=True), completed(6, 2, attempt(1, OK, 5, 6))]
    spans = spans_of(facts(), rows(started(), (1, flaky), (1, fine), (1, [DONE])), SpanRules(spans_max=0))
    assert names(spans) == ["run accepted", "attempt flaky", "step flaky", "run order"]
    assert dict(spans[-1].own)["holdfast.spans.omitted"] == 5


def test_children_are_exported_whatever_the_budget() -> None:
    """Their own run spans hang below them."""
    journal = rows(started(), (1, [child(1, 1, "ship", CHILD_RUN)]), (1, [DONE]))
    assert "child ship" in names(spans_of(facts(), journal, SpanRules(spans_max=0)))


def test_the_first_entries_of_a_retried_run_may_be_early_by_its_workers_clock() -> None:
    created = T0 + timedelta(seconds=100)
    journal = rows(
        started(origin_run_id="run_00origin"),
        (1, [scheduled(99.99, 1, "a", begins=True), completed(99.995, 1, attempt(1, OK, 99.99, 99.995))]),
        (1, [closed(101, RunStatus.COMPLETED)]),
    )
    spans = spans_of(facts(created_at=created, origin_run_id="run_00origin"), journal)
    assert names(spans) == ["run accepted", "attempt a", "step a", "run order"]


def test_a_clock_that_goes_back_makes_no_span_that_does() -> None:
    journal = rows(
        started(),
        (1, [scheduled(5, 1, "a", begins=True)]),
        (1, [failed(4, 1, failure("E"), attempt(1, FINAL, 5, 4)), closed(3, RunStatus.FAILED, failure("E"))]),
    )
    assert {(span.end_ns - span.start_ns) // 10**9 for span in spans_of(facts(), journal)} == {0, 5}


def test_a_run_that_is_taken_up_in_the_instant_of_its_creation_does_not_begin_before_it() -> None:
    """A child begins where the span of its parent that awaits it begins."""
    spans = spans_of(facts(), rows(started(), (1, [scheduled(0, 1, "a", begins=True)]), (1, [completed(1, 1), DONE])))
    accepted, run = named(spans, "run accepted"), named(spans, f"run {facts().workflow}")
    assert run.start_ns == accepted.start_ns
    assert accepted.end_ns - accepted.start_ns == 1
    assert run.start_ns % 1_000 == 0, "journals have microseconds"


def test_a_run_without_any_length_holds_its_spans() -> None:
    spans = spans_of(facts(), rows(started(), (1, [closed(0, RunStatus.CANCELLED)])))
    accepted, run = named(spans, "run accepted"), named(spans, f"run {facts().workflow}")
    assert run.start_ns <= accepted.start_ns < accepted.end_ns <= run.end_ns
