"""The scenarios of the golden trees: a run's facts and its journal, by the name of the file that shows its spans."""

from collections.abc import Callable
from datetime import timedelta

from holdfast.api.v1 import journal_pb2
from holdfast.statuses import AttemptOutcome, ClosePolicy, RunStatus
from holdfast.traces import SpanContext, child_context
from holdfast_coordinator.telemetry.spans import Link, RunFacts
from tests.support.written_journals import (
    T0,
    TRACE,
    answered,
    attempt,
    begins,
    cancelled,
    child,
    closed,
    completed,
    ended,
    facts,
    failed,
    failure,
    mail,
    named_part,
    noted,
    part_began,
    paused,
    resumed,
    rows,
    scheduled,
    stalled,
    started,
    timer,
    timer_cancelled,
    undelivered,
)

Scenario = tuple[RunFacts, list[journal_pb2.JournalRow]]

CALLER = SpanContext(b"\xca" * 16, b"\xfe" * 8)
CALLER_HEADER = f"00-{'ca' * 16}-{'fe' * 8}-01"
CHILD_RUN = "run_0001hv3k9m2q8w0000000000000002"

OK, RETRY, FINAL = AttemptOutcome.COMPLETED, AttemptOutcome.FAILED_RETRYABLE, AttemptOutcome.FAILED_FINAL
LOST, LATE, STOPPED = AttemptOutcome.LOST, AttemptOutcome.TIMED_OUT, AttemptOutcome.CANCELLED
HANDED_BACK = AttemptOutcome.HANDED_BACK
DECLINED = failure("CardDeclined", "no funds")


def retry_with_back_off() -> Scenario:
    """A short wait is kept by the worker, a long one by the coordinator; then the step succeeds."""
    journal = rows(
        started(),
        (1, [scheduled(0.25, 1, "charge", begins=True)]),
        (1, [ended(1, 1, attempt(1, RETRY, 0.25, 1, failed=DECLINED, retry=0.5))]),
        (1, [begins(1.75, 1, 2)]),
        (1, [ended(2, 1, attempt(2, RETRY, 1.75, 2, failed=DECLINED, retry=60), alarm=True)]),
        (2, [mail(62.5, 1, arrived=62.25, retry_due={"number": 1}), begins(62.5, 1, 3)]),
        (2, [completed(63, 1, attempt(3, OK, 62.5, 63, session="ses_2")), closed(63, RunStatus.COMPLETED)]),
    )
    return facts(id="order-17", links=(Link(CALLER, "caller"),)), journal


def step_timeout() -> Scenario:
    late = failure("TimeoutError", "Timeout after 2s")
    journal = rows(
        started(),
        (1, [scheduled(0.1, 1, "fetch", begins=True, step_id="page-1")]),
        (1, [ended(2.1, 1, attempt(1, LATE, 0.1, 2.1, failed=late, retry=0.001)), begins(2.2, 1, 2)]),
        (1, [failed(4.2, 1, late, attempt(2, LATE, 2.2, 4.2, failed=late)), closed(4.2, RunStatus.FAILED, late)]),
    )
    return facts(), journal


def worker_lost() -> Scenario:
    """The lost worker had reported an attempt before; who finds the loss does not know who it was."""
    journal = rows(
        started(),
        (1, [scheduled(0.1, 1, "reserve", begins=True)]),
        (1, [completed(1, 1, attempt(1, OK, 0.1, 1)), scheduled(1, 2, "charge", begins=True)]),
        (2, [ended(12, 2, attempt(1, LOST, 1, 12, session="", build="")), begins(12, 2, 2)]),
        (3, [ended(22, 2, attempt(2, LOST, 12, 22, session="", build="")), begins(22, 2, 3)]),
        (3, [ended(23, 2, attempt(3, HANDED_BACK, 22, 23, session="ses_3", build="b2"))]),
        (4, [begins(23.5, 2, 4)]),
        (4, [completed(24, 2, attempt(4, OK, 23.5, 24, session="ses_4")), closed(24, RunStatus.COMPLETED)]),
    )
    return facts(), journal


def signal_wait() -> Scenario:
    """One wait with a timeout and one without, a wait that times out, a named timer, a sleep, a signal too late."""
    journal = rows(
        started(),
        (1, [timer(0.1, 1, 60, signal="approval")]),
        (2, [mail(30.2, 1, arrived=30, signal={"name": "approval"}, trace=CALLER_HEADER),
             timer_cancelled(30.2, 1), timer(30.2, 2, 10, "cooling off")]),
        (3, [mail(41, 2, arrived=40.3, timer={"number": 2}), timer(41, 3, 5)]),
        (4, [mail(46.1, 3, arrived=46, timer={"number": 3})]),
        (5, [mail(50, 4, arrived=49.9, awaited=46.1, signal={"name": "address", "payload": {"data": b'"home"'}}),
             timer(50, 4, 10, signal="gift")]),
        (6, [mail(60.2, 5, arrived=60.1, timer={"number": 4}),
             undelivered(61, 6, arrived=60.9, signal={"name": "gift"}), closed(61, RunStatus.COMPLETED)]),
    )  # fmt: skip
    return facts(), journal


def awaited_child() -> Scenario:
    late = failure("RunTimedOut", "the run passed its deadline")
    journal = rows(
        started(),
        (1, [child(0.1, 1, "ship", CHILD_RUN), child(0.1, 2, "ship", CHILD_RUN + "b", queue="far"),
             child(0.1, 3, "audit", CHILD_RUN + "c", policy=ClosePolicy.ABANDON)]),
        (2, [mail(5, 1, arrived=4, child_closed={"number": 1, "status": 6, "result": {"data": b"1"}})]),
        (2, [mail(9, 2, arrived=8.5, child_closed={"number": 2, "status": 10, "failure": late}),
             closed(9, RunStatus.FAILED, failure("RunTimedOut", "ship"))]),
    )  # fmt: skip
    return facts(), journal


def child_run() -> Scenario:
    """The other side: the run span of an awaited child hangs below the span of its parent that stands for it."""
    journal = rows(
        started(),
        (1, [scheduled(1.5, 1, "pack", begins=True)]),
        (1, [completed(2, 1, attempt(1, OK, 1.5, 2)), closed(2, RunStatus.COMPLETED)]),
    )
    above = child_context(TRACE, "run_00parent", 1)
    trace = SpanContext(TRACE.trace_id, b"\x0c" * 8)
    return facts(run_id=CHILD_RUN, workflow="ship", trace=trace, parent=above, parent_run_id="run_00parent"), journal


def cancelled_run() -> Scenario:
    """The code accepts the cancel request: what runs, waits for a slot, waits in a queue and sleeps ends."""
    journal = rows(
        started(),
        (1, [scheduled(0.1, 1, "charge", begins=True), scheduled(0.1, 2, "mail"),
             scheduled(0.1, 3, "print", queued=True, queue="paper"), scheduled(0.1, 4, "fold", queued=True),
             timer(0.1, 1, 600)]),
        (1, [mail(3, 1, arrived=2.9, cancel={"reason": "ordered twice"}), cancelled(3, 1, attempt(1, STOPPED, 0.1, 3)),
             cancelled(3, 2), cancelled(3, 3), cancelled(3, 4, attempts=[attempt(1, STOPPED, 2, 3, epoch=1)]),
             timer_cancelled(3, 1),
             closed(3, RunStatus.CANCELLED, failure("CancelledError", "ordered twice"))]),
    )  # fmt: skip
    return facts(), journal


def terminated_run() -> Scenario:
    """Nobody ends anything any more: all that is open ends with the run, as cancelled."""
    journal = rows(
        started(),
        (1, [scheduled(0.1, 1, "charge", begins=True), scheduled(0.1, 2, "print", queued=True),
             scheduled(0.1, 3, "fold", queued=True), timer(0.1, 1, 600), child(0.1, 1, "ship", CHILD_RUN)]),
        (0, [undelivered(8, 1, step_result={"number": 2, "attempts": [attempt(1, STOPPED, 5, 8)],
                                            "failure": failure("CancelledError", "the run closed")}),
             closed(8, RunStatus.TERMINATED, failure("RunTerminated", "asked to"))]),
    )  # fmt: skip
    return facts(), journal


def retried_run() -> Scenario:
    """Copied entries are in the origin's trace; a timer that is still set goes on from when the run was created."""
    journal = rows(
        (0, [*started(origin_run_id="run_00origin")[1], scheduled(0.2, 1, "charge", begins=True),
             completed(1, 1, attempt(1, OK, 0.2, 1)), timer(1, 1, 3600, "reminder")]),
        (1, [scheduled(100.1, 2, "ship", begins=True)]),
        (1, [completed(101, 2, attempt(1, OK, 100.1, 101)), timer_cancelled(101, 1), closed(101, RunStatus.COMPLETED)]),
    )  # fmt: skip
    origin = Link(SpanContext(b"\x0a" * 16, b"\x0b" * 8), "origin")
    return facts(created_at=T0 + timedelta(seconds=100), origin_run_id="run_00origin", links=(origin,)), journal


def failed_run() -> Scenario:
    journal = rows(
        started(),
        (1, [scheduled(0.1, 1, "charge", begins=True)]),
        (1, [failed(0.5, 1, DECLINED, attempt(1, FINAL, 0.1, 0.5, failed=DECLINED)),
             closed(0.5, RunStatus.FAILED, DECLINED)]),
    )  # fmt: skip
    return facts(parent=CALLER, trace=SpanContext(CALLER.trace_id, b"\x0d" * 8, tracestate="a=b")), journal


def queued_step() -> Scenario:
    """The attempts come with the result."""
    attempts = [
        attempt(1, LOST, 1, 11, session="ses_7", build="", epoch=1),
        attempt(2, RETRY, 11.5, 12, failed=DECLINED, retry=5, session="ses_8", epoch=2),
        attempt(3, OK, 20, 21, session="ses_9", epoch=3),
    ]
    last = [attempt(1, FINAL, 25, 26, failed=DECLINED, session="ses_9")]
    journal = rows(
        started(),
        (1, [scheduled(0.1, 1, "render", queued=True, queue="gpu"),
             scheduled(0.1, 2, "charge", queued=True, queue="money")]),
        (2, [mail(22, 1, arrived=21.2, step_result={"number": 1, "attempts": attempts, "result": {"data": b"[]"}})]),
        (3, [mail(27, 2, arrived=26.2, step_result={"number": 2, "attempts": last, "failure": DECLINED}),
             closed(27, RunStatus.FAILED, DECLINED)]),
    )  # fmt: skip
    return facts(), journal


def stalled_and_resumed() -> Scenario:
    journal = rows(
        started(),
        (1, [scheduled(0.1, 1, "charge", begins=True)]),
        (1, [ended(1, 1, attempt(1, HANDED_BACK, 0.1, 1)), stalled(1, "expected step a, got step b", "b1")]),
        (0, [resumed(61, "build b2 has come")]),
        (2, [begins(61.1, 1, 2)]),
        (2, [completed(62, 1, attempt(2, OK, 61.1, 62, build="b2")), stalled(62, "again", "b2")]),
        (0, [closed(70, RunStatus.TIMED_OUT, failure("RunTimedOut", "the run passed its deadline"))]),
    )
    return facts(), journal


def paused_run() -> Scenario:
    """Paused while it is stalled, and resumed once."""
    journal = rows(
        started(),
        (0, [paused(1, "maintenance")]),
        (0, [resumed(5, "asked")]),
        (1, [stalled(6, "no code for it", "b1")]),
        (0, [paused(8, "")]),
        (0, [resumed(9, "asked")]),
        (2, [closed(10, RunStatus.COMPLETED)]),
    )
    return facts(), journal


def updates() -> Scenario:
    """One is answered, one fails, one is never answered."""
    sent = {"name": "set address", "arguments": {"positional": [{"data": b'"home"'}]}}
    journal = rows(
        started(),
        (1, [mail(1.2, 1, arrived=1, update=sent, trace=CALLER_HEADER), mail(1.2, 2, update={"name": "add item"})]),
        (1, [answered(2.5, 1), answered(2.5, 2, DECLINED)]),
        (1, [mail(3, 3, update={"name": "remove item"}, trace="malformed")]),
        (1, [closed(4, RunStatus.COMPLETED)]),
    )
    return facts(), journal


def named_parts() -> Scenario:
    """Inner ones end first. One outlives the part around it, one is around another and never ends."""
    journal = rows(
        started(),
        (1, [scheduled(0.1, 1, "charge", begins=True)]),
        (1, [completed(1, 1, attempt(1, OK, 0.1, 1)), named_part(0.1, 1, 3, "payment", inside=2)]),
        (1, [named_part(1, 2, 4, "packing", inside=2, error="Broken"), named_part(0.1, 2, 2, "fulfilment", inside=1)]),
        (1, [named_part(0, 3, 1, "order", error="CancelledError"), named_part(2.5, 4, 5, "letter", inside=1)]),
        (1, [named_part(5, 6, 7, "within", inside=6)]),
        (0, [closed(8, RunStatus.TERMINATED)]),
    )
    return facts(), journal


def calls_in_named_parts() -> Scenario:
    """A step, a sleep and a child inside; a step that outlives its part; a part that is open when the run ends."""
    journal = rows(
        started(),
        (1, [part_began(0, 0.1, 1, "order"), part_began(0, 0.1, 2, "payment", inside=1),
             scheduled(0.1, 1, "charge", begins=True, span=2)]),
        (1, [completed(1, 1, attempt(1, OK, 0.1, 1)), named_part(1, 1, 3, "quick", inside=2),
             scheduled(1, 2, "notify", begins=True, span=2), named_part(0, 1.5, 2, "payment", inside=1)]),
        (1, [timer(1.5, 1, 60, part=1), child(1.5, 1, "ship", CHILD_RUN, span=1)]),
        (2, [mail(61.6, 1, arrived=61.5, timer={"number": 1}), completed(62, 2, attempt(1, OK, 1, 62))]),
        (2, [part_began(62, 62, 5, "packing", inside=1), scheduled(62, 3, "fold", begins=True, span=5)]),
        (0, [closed(70, RunStatus.TERMINATED)]),
    )  # fmt: skip
    return facts(), journal


def notes() -> Scenario:
    """One outside of all parts, one in a part, one where the part around it has ended."""
    journal = rows(
        started(),
        (1, [noted(0.1, "begun"), part_began(0, 0.2, 1, "order"), noted(0.2, "approved", "warning", part=1),
             scheduled(0.2, 1, "charge", begins=True, span=1)]),
        (1, [completed(1, 1, attempt(1, OK, 0.2, 1)), named_part(0, 1, 1, "order"), noted(1, "charged", part=1),
             closed(1, RunStatus.COMPLETED)]),
    )  # fmt: skip
    return facts(), journal


def continued_run() -> Scenario:
    """It goes on from another, and another goes on from it."""
    journal = rows(started(), (1, [closed(3, RunStatus.CONTINUED_AS_NEW, successor="run_00successor")]))
    before = Link(SpanContext(b"\x0a" * 16, b"\x0b" * 8), "predecessor")
    return facts(links=(before,)), journal


def run_of_three_days() -> Scenario:
    """Cut into traces of a day. The sleep and the step belong to the day on which they began."""
    day = 86_400.0
    journal = rows(
        started(),
        (1, [scheduled(1, 1, "begin", begins=True)]),
        (1, [completed(2, 1, attempt(1, OK, 1, 2)), timer(2, 1, day * 1.5)]),
        (2, [mail(day * 1.5 + 2, 1, timer={"number": 1}), scheduled(day * 1.5 + 2, 2, "work", begins=True)]),
        (2, [scheduled(day * 1.7, 3, "more", begins=True)]),
        (2, [completed(day * 2.2, 2, attempt(1, OK, day * 1.5 + 2, day * 2.2)),
             completed(day * 2.2, 3, attempt(1, OK, day * 1.7, day * 2.2)),
             scheduled(day * 2.2, 4, "end", begins=True)]),
        (2, [completed(day * 2.5, 4, attempt(1, OK, day * 2.2, day * 2.5)), closed(day * 2.5, RunStatus.COMPLETED)]),
    )  # fmt: skip
    return facts(links=(Link(CALLER, "caller"),)), journal


def never_leased() -> Scenario:
    return facts(), rows(started(), (0, [closed(30, RunStatus.CANCELLED, failure("CancelledError", ""))]))


SCENARIOS: tuple[Callable[[], Scenario], ...] = (
    retry_with_back_off,
    step_timeout,
    worker_lost,
    signal_wait,
    awaited_child,
    child_run,
    cancelled_run,
    terminated_run,
    retried_run,
    failed_run,
    queued_step,
    stalled_and_resumed,
    paused_run,
    updates,
    named_parts,
    calls_in_named_parts,
    notes,
    continued_run,
    run_of_three_days,
    never_leased,
)
