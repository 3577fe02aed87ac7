"""Hypothesis strategies for journal entries and mail, every field of them."""

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from hypothesis import strategies as st

from holdfast import journal as j
from holdfast.backoff import Constant, Exponential, Linear, Listed
from holdfast.statuses import AttemptOutcome, ClosePolicy, Placement, RunStatus

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
name = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
count = st.integers(min_value=1, max_value=2**31 - 1)
instants = st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))
spans = st.timedeltas(timedelta(0), timedelta(days=3653))
payloads = st.builds(j.Payload, st.binary(max_size=20), text, st.one_of(st.just(b""), st.binary(max_size=4)))
arguments = st.builds(
    j.Arguments,
    st.lists(payloads, max_size=3).map(tuple),
    st.dictionaries(name, payloads, max_size=3),
)
failures = st.recursive(
    st.builds(
        j.Failure,
        name,
        text,
        text,
        text,
        st.booleans(),
        st.none() | payloads,
        st.none() | st.builds(j.StepOrigin, name, count, count),
        text,
    ),
    lambda inner: st.builds(j.Failure, name, text, cause=inner, leaves=st.lists(inner, max_size=2).map(tuple)),
    max_leaves=3,
)
backoffs = st.one_of(
    st.builds(
        Exponential,
        st.floats(0.1, 100),
        spans,
        st.floats(0, 1),
        st.integers(0, 3),
    ),
    st.builds(Linear, spans, spans, st.none() | spans),
    st.builds(Constant, spans),
    st.builds(Listed, st.lists(spans, min_size=1, max_size=3).map(tuple)),
)
retries = st.builds(j.RetryPolicy, st.integers(0, 100), backoffs)
attempts = st.builds(
    j.AttemptRecord,
    count,
    st.sampled_from(AttemptOutcome),
    instants,
    instants,
    instants,
    instants,
    text,
    text,
    st.none() | failures,
    st.none() | spans,
    st.integers(0, 2**63 - 1),
)
statuses = st.sampled_from(RunStatus)
traces = st.builds(j.TraceContext, name, text, text)


def _outcome(kind: Any, *facts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.builds(kind, *facts, result=payloads), st.builds(kind, *facts, failure=failures))


mail_bodies = st.one_of(
    st.builds(j.Signal, name, st.none() | payloads),
    st.builds(j.TimerFired, count),
    st.builds(j.RetryDue, count),
    _outcome(j.StepResult, count, st.lists(attempts, max_size=2).map(tuple)),
    _outcome(j.ChildClosed, count, name, statuses),
    st.builds(j.CancelRequested, text),
)
mails = st.builds(j.Mail, count, instants, mail_bodies, st.none() | traces)

_BY_KIND: dict[type, st.SearchStrategy[Any]] = {
    j.RunStarted: st.builds(j.RunStarted, instants, name, text, text),
    j.StepScheduled: st.builds(
        j.StepScheduled,
        instants,
        count,
        name,
        arguments,
        text,
        st.sampled_from(Placement),
        text,
        st.integers(-100, 100),
        st.none() | spans,
        st.none() | st.integers(0, 100),
        st.none() | retries,
        st.booleans(),
        text,
    ),
    j.AttemptStarted: st.builds(j.AttemptStarted, instants, count, count),
    j.AttemptEnded: st.builds(j.AttemptEnded, instants, count, attempts, st.booleans()),
    j.StepCompleted: st.builds(j.StepCompleted, instants, count, payloads, st.none() | attempts),
    j.StepFailed: st.builds(j.StepFailed, instants, count, failures, st.none() | attempts),
    j.StepCancelled: st.builds(j.StepCancelled, instants, count, st.none() | attempts),
    j.TimerSet: st.one_of(
        st.builds(j.TimerSet, instants, count, text, delay=spans, signal=text),
        st.builds(j.TimerSet, instants, count, text, until=instants, signal=text),
    ),
    j.TimerCancelled: st.builds(j.TimerCancelled, instants, count),
    j.MailConsumed: st.builds(j.MailConsumed, instants, count, st.none() | mails, st.none() | instants),
    j.MailUndelivered: st.builds(j.MailUndelivered, instants, count, st.none() | mails),
    j.ChildStarted: st.builds(
        j.ChildStarted,
        instants,
        count,
        name,
        name,
        arguments,
        text,
        text,
        st.none() | spans,
        st.sampled_from(ClosePolicy),
    ),
    j.ChildCancelled: st.builds(j.ChildCancelled, instants, count),
    j.RunStalled: st.builds(j.RunStalled, instants, text, text),
    j.RunResumed: st.builds(j.RunResumed, instants, text),
    j.RunClosed: st.builds(j.RunClosed, instants, statuses, st.none() | payloads, st.none() | failures),
    j.SignalSetAside: st.builds(j.SignalSetAside, instants, count, name, text),
    j.UserSpanBegan: st.builds(j.UserSpanBegan, instants, count, name, instants, st.integers(0, 2**31 - 1)),
    j.UserSpan: st.builds(j.UserSpan, instants, count, name, instants, st.integers(0, 2**31 - 1), text),
}
assert set(_BY_KIND) == set(get_args(j.Entry)), "a kind of entry has no strategy"
entries = st.one_of(*_BY_KIND.values())
