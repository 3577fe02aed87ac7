"""Hypothesis strategies for journal entries and mail, every field of them."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any, get_args, get_type_hints

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


_BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    str: text,
    int: st.integers(0, 2**31 - 1),
    bool: st.booleans(),
    datetime: instants,
    timedelta: spans,
    j.Payload: payloads,
    j.Arguments: arguments,
    j.Failure: failures,
    j.RetryPolicy: retries,
    j.AttemptRecord: attempts,
    tuple[j.AttemptRecord, ...]: st.lists(attempts, max_size=2).map(tuple),
    Placement: st.sampled_from(Placement),
    ClosePolicy: st.sampled_from(ClosePolicy),
    RunStatus: statuses,
    type(None): st.none(),
}
_ONE_OF = {j.TimerSet: ("delay", "until"), j.StepResult: ("result", "failure"), j.ChildClosed: ("result", "failure")}
"""Of these fields a record has exactly one."""


def _records(kind: type) -> st.SearchStrategy[Any]:
    """Records of a kind, every field of them."""
    hints = get_type_hints(kind)
    fields = {field.name: _values(hints[field.name]) for field in dataclasses.fields(kind)}
    one_of = _ONE_OF.get(kind)
    if one_of is None:
        return st.builds(kind, **fields)
    only = {name: _values(next(hint for hint in get_args(hints[name]) if hint is not type(None))) for name in one_of}
    others = {name: strategy for name, strategy in fields.items() if name not in one_of}
    return st.one_of(*(st.builds(kind, **others, **{name: strategy}) for name, strategy in only.items()))


def _values(hint: Any) -> st.SearchStrategy[Any]:
    return _BY_TYPE[hint] if hint in _BY_TYPE else st.one_of(*(_BY_TYPE[one] for one in get_args(hint)))


mail_bodies = st.one_of(*map(_records, get_args(j.MailBody)))
mails = _BY_TYPE[j.Mail] = st.builds(j.Mail, count, instants, mail_bodies, st.none() | traces)
_BY_TYPE[tuple[j.Mail, ...]] = st.lists(mails, max_size=2).map(tuple)
entries = st.one_of(*map(_records, get_args(j.Entry)))
