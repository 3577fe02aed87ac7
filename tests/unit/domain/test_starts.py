"""What a start does: make a run, join the one that has its id or key, be refused; for children too."""

from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest

from holdfast.errors import InvalidRequest, RunAlreadyStarted, RunConflict
from holdfast.ids import child_run_id
from holdfast.statuses import RunStatus, Then
from holdfast_coordinator.domain.batch import keys_of
from holdfast_coordinator.domain.commands import OnConflict, Reuse, StartRun, TerminateRun
from holdfast_coordinator.domain.hashed_calls import HashedCall, started_with
from holdfast_coordinator.domain.rows import AlarmKind, RunState
from holdfast_coordinator.domain.starts import RetryInstead, Started, TerminateFirst
from tests.support.core_cell import T0, CoreCell
from tests.support.core_commands import (
    RUN,
    WORKER,
    child_of,
    child_start,
    fire,
    leased,
    offer,
    run_named,
    signal,
    start,
    take,
)

CHILD = child_run_id(RUN, 1)


def closed(cell: CoreCell, status: RunStatus, **changed: Any) -> None:
    """Run 1 with id "a", closed."""
    leased(cell, start(1, id="a", **changed))
    if status is RunStatus.COMPLETED:
        take(cell, then=Then.CLOSE)
    else:
        cell.ask(TerminateRun(RUN, "req", "why"))


def key_holder(cell: CoreCell, kind: str, key: str) -> str | None:
    row = cell.keys.get(("default", kind, key))
    return row.run_id if row is not None else None


def currency(default: str) -> dict[str, Any]:
    """The signature of `order(n, currency=default)`."""
    currency = {"name": "currency", "kind": "either", "required": False, "default": content(default).hex()}
    n = {"name": "n", "kind": "either", "required": True}
    return {"parameters": [n, currency], "extra_positional": False, "extra_named": False}


def content(text: str) -> bytes:
    return sha256(text.encode()).digest()


def order(number: int, *arguments: str, known: list[dict[str, Any]], **changed: Any) -> StartRun:
    digest = HashedCall(tuple(map(content, arguments)), {}).digest()
    return start(number, call_digest=digest, signatures=known, signature_digest=started_with(digest, known), **changed)


@pytest.mark.parametrize("named", [{"id": "a"}, {"idempotency_key": "a"}])
def test_a_deploy_that_changes_a_default_changes_nothing_of_what_was_started_before(
    cell: CoreCell, named: dict[str, str]
) -> None:
    """The run has EUR; a start with USD joined it, since USD is what the new code makes of the old call."""
    euro, dollar = currency("EUR"), currency("USD")
    cell.ask(order(1, "1", known=[euro], **named))
    deployed = [dollar, euro]
    assert isinstance(cell.ask(order(2, "1", "USD", known=deployed, **named)), RunConflict)
    assert cell.ask(order(3, "1", "EUR", known=deployed, **named)) == Started(RUN, attached=True)
    assert cell.ask(order(4, "1", known=deployed, **named)) == Started(RUN, attached=True)


def test_a_new_run_under_an_old_id_is_compared_by_its_own_signature(cell: CoreCell) -> None:
    euro, dollar = currency("EUR"), currency("USD")
    cell.ask(order(1, "1", known=[euro], id="a"))
    cell.ask(TerminateRun(RUN, "req", "why"))
    deployed = [dollar, euro]
    cell.ask(order(2, "1", known=deployed, id="a", reuse=Reuse.NEW))
    assert isinstance(cell.ask(order(3, "1", "EUR", known=deployed, id="a")), RunConflict)
    assert cell.ask(order(4, "1", "USD", known=deployed, id="a")) == Started(run_named(2), attached=True)


def test_a_key_that_joined_a_run_by_its_id_is_compared_by_the_signature_of_that_run(cell: CoreCell) -> None:
    euro, dollar = currency("EUR"), currency("USD")
    cell.ask(order(1, "1", known=[euro], id="a"))
    deployed = [dollar, euro]
    assert cell.ask(order(2, "1", known=deployed, id="a", idempotency_key="k")) == Started(RUN, attached=True)
    assert isinstance(cell.ask(order(3, "1", "USD", known=deployed, idempotency_key="k")), RunConflict)


def test_a_start_makes_a_ready_run_with_one_entry(cell: CoreCell) -> None:
    assert cell.ask(start()) == Started(RUN, attached=False)
    run = cell.open_runs[RUN]
    assert (run.state, run.length, run.epoch) == (RunState.READY, 1, 0)


def test_a_start_is_handed_to_a_session_with_room_in_the_same_batch(cell: CoreCell) -> None:
    run = leased(cell)
    assert (run.state, run.owner, run.epoch) == (RunState.LEASED, WORKER, 1)


def test_a_repeated_start_gets_its_run_and_makes_no_other(cell: CoreCell) -> None:
    cell.ask(start(id="a"))
    assert cell.ask(start(id="a")) == Started(RUN, attached=False)
    assert len(cell.runs) == 1


def test_a_start_that_is_repeated_in_one_batch_makes_one_run(cell: CoreCell) -> None:
    assert cell.submit(start(), start()) == [Started(RUN, attached=False)] * 2
    assert len(cell.journals[RUN]) == 1


def test_the_repeat_of_a_start_that_joined_a_run_gets_it_though_it_has_closed_since(cell: CoreCell) -> None:
    leased(cell, start(1, id="a"))
    joining = start(2, id="a", reuse=Reuse.NEW)
    assert cell.ask(joining) == Started(RUN, attached=True)
    take(cell, then=Then.CLOSE)
    assert cell.ask(joining) == Started(RUN, attached=True)
    assert cell.ask(start(3, id="a", reuse=Reuse.NEW)) == Started(run_named(3), attached=False)


def test_a_start_id_with_other_arguments_is_refused(cell: CoreCell) -> None:
    cell.ask(start())
    assert isinstance(cell.ask(start(call_digest=b"other")), InvalidRequest)


def test_a_start_names_the_keys_that_it_reserves() -> None:
    assert keys_of(start(id="a", idempotency_key="k")) == (("default", "id", "a"), ("default", "key", "k"))
    assert keys_of(start()) == ()


@pytest.mark.parametrize("named", [{"id": "a"}, {"idempotency_key": "k"}])
def test_concurrent_starts_with_one_name_make_one_run(cell: CoreCell, named: dict[str, str]) -> None:
    answers = cell.submit(*(start(number, **named) for number in range(1, 6)))
    assert {answer.run_id for answer in answers} == {RUN}  # type: ignore[union-attr]
    assert len(cell.runs) == 1


@pytest.mark.parametrize("named", [{"id": "a"}, {"idempotency_key": "k"}])
@pytest.mark.parametrize("other", [{"call_digest": b"other"}, {"workflow": "refund"}])
def test_a_name_with_other_arguments_or_another_workflow_conflicts(
    cell: CoreCell, named: dict[str, str], other: dict[str, Any]
) -> None:
    cell.ask(start(1, **named))
    answer = cell.ask(start(2, **named, **other))
    assert isinstance(answer, RunConflict)
    assert answer.run_id == RUN


@pytest.mark.parametrize(
    ("policy", "answer"),
    [
        (OnConflict.ATTACH, Started(RUN, attached=True)),
        (OnConflict.TERMINATE, TerminateFirst(RUN)),
    ],
)
def test_an_open_run_with_the_id_decides_by_on_conflict(cell: CoreCell, policy: OnConflict, answer: object) -> None:
    cell.ask(start(1, id="a"))
    assert cell.ask(start(2, id="a", on_conflict=policy)) == answer


def test_reject_names_the_open_run(cell: CoreCell) -> None:
    cell.ask(start(1, id="a"))
    answer = cell.ask(start(2, id="a", on_conflict=OnConflict.REJECT))
    assert isinstance(answer, RunAlreadyStarted)
    assert answer.run_id == RUN


@pytest.mark.parametrize(
    ("status", "reuse", "answer"),
    [
        (RunStatus.COMPLETED, Reuse.ATTACH, Started(RUN, attached=True)),
        (RunStatus.TERMINATED, Reuse.ATTACH, Started(RUN, attached=True)),
        (RunStatus.COMPLETED, Reuse.NEW, Started(run_named(2), attached=False)),
        (RunStatus.COMPLETED, Reuse.RETRY_FAILED, Started(RUN, attached=True)),
        (RunStatus.TERMINATED, Reuse.RETRY_FAILED, RetryInstead(RUN)),
    ],
)
def test_a_closed_run_with_the_id_decides_by_reuse(
    cell: CoreCell, status: RunStatus, reuse: Reuse, answer: object
) -> None:
    closed(cell, status)
    assert cell.ask(start(2, id="a", reuse=reuse)) == answer


def test_a_new_run_takes_over_the_id_and_its_arguments(cell: CoreCell) -> None:
    closed(cell, RunStatus.COMPLETED)
    cell.ask(start(2, id="a", reuse=Reuse.NEW, call_digest=b"other"))
    assert key_holder(cell, "id", "a") == run_named(2)
    assert cell.ask(start(3, id="a", call_digest=b"other")) == Started(run_named(2), attached=True)


def test_terminate_and_start_again_makes_a_new_run(cell: CoreCell) -> None:
    cell.ask(start(1, id="a"))
    again = start(2, id="a", on_conflict=OnConflict.TERMINATE)
    assert cell.ask(again) == TerminateFirst(RUN)
    cell.ask(TerminateRun(RUN, again.run_id, "taken"))
    assert cell.ask(again) == Started(run_named(2), attached=False)


@pytest.mark.parametrize("policy", OnConflict)
def test_an_idempotency_key_answers_with_its_run_whatever_the_policies_say(cell: CoreCell, policy: OnConflict) -> None:
    cell.ask(start(1, id="a", idempotency_key="k"))
    again = start(2, id="a", idempotency_key="k", on_conflict=policy)
    assert cell.ask(again) == Started(RUN, attached=True)


def test_an_idempotency_key_answers_with_its_run_after_its_id_was_reused(cell: CoreCell) -> None:
    closed(cell, RunStatus.COMPLETED, idempotency_key="k")
    cell.ask(start(2, id="a", reuse=Reuse.NEW))
    assert cell.ask(start(3, id="a", idempotency_key="k")) == Started(RUN, attached=True)
    assert key_holder(cell, "id", "a") == run_named(2)


def test_a_key_never_gives_its_run_another_id(cell: CoreCell) -> None:
    cell.ask(start(1, idempotency_key="k"))
    assert cell.ask(start(2, id="a", idempotency_key="k")) == Started(RUN, attached=True)
    assert key_holder(cell, "id", "a") is None
    assert cell.ask(start(3, id="a")) == Started(run_named(3), attached=False)


def test_an_id_is_free_though_a_start_that_named_it_joined_another_run_and_was_repeated(cell: CoreCell) -> None:
    cell.ask(start(1, idempotency_key="k"))
    joined = start(2, id="order-7", idempotency_key="k", reuse=Reuse.ATTACH)
    first = cell.ask(joined)

    assert cell.ask(joined) == first == Started(run_named(1), attached=True)
    assert cell.ask(start(3, id="order-7")) == Started(run_named(3), attached=False)


def test_an_id_is_free_though_a_start_that_named_it_was_refused_for_its_start_id(cell: CoreCell) -> None:
    cell.ask(start(1))

    assert isinstance(cell.ask(start(1, id="order-7", call_digest=b"other")), InvalidRequest)
    assert cell.ask(start(3, id="order-7")) == Started(run_named(3), attached=False)


def test_a_fresh_key_stands_for_the_run_that_was_joined_by_id(cell: CoreCell) -> None:
    cell.ask(start(1, id="a"))
    assert cell.ask(start(2, id="a", idempotency_key="k")) == Started(RUN, attached=True)
    assert cell.ask(start(3, idempotency_key="k")) == Started(RUN, attached=True)


def test_a_refused_start_gives_its_fresh_keys_back(cell: CoreCell) -> None:
    cell.ask(start(1, id="a"))
    cell.ask(start(2, id="a", idempotency_key="k", on_conflict=OnConflict.REJECT))
    assert key_holder(cell, "key", "k") is None
    assert key_holder(cell, "id", "a") == RUN
    assert cell.ask(start(3, idempotency_key="k")) == Started(run_named(3), attached=False)


def test_names_of_one_namespace_mean_nothing_in_another(cell: CoreCell) -> None:
    cell.ask(start(1, id="a", idempotency_key="k"))
    answer = cell.ask(start(2, id="a", idempotency_key="k", namespace="other"))
    assert answer == Started(run_named(2), attached=False)


def test_a_start_id_of_another_namespace_is_refused_as_any_that_is_taken(cell: CoreCell) -> None:
    cell.ask(start())
    stranger = cell.ask(start(namespace="other"))
    assert isinstance(stranger, InvalidRequest)
    assert str(stranger) == str(cell.ask(start(call_digest=b"other")))


def test_a_delayed_start_begins_at_its_alarm_and_no_mail_wakes_it_earlier(cell: CoreCell) -> None:
    cell.ask(start(delay=timedelta(seconds=10)))
    cell.ask(signal())
    assert cell.open_runs[RUN].state is RunState.SUSPENDED
    cell.pass_time(9.999)
    assert not fire(cell, AlarmKind.START)
    cell.pass_time(0.001)
    offer(cell, WORKER)
    assert fire(cell, AlarmKind.START)
    assert [mail.number for mail in cell.leases()[0].mail] == [1]


def test_the_longest_duration_of_a_run_sets_its_deadline(cell: CoreCell) -> None:
    cell.ask(start(max_duration=timedelta(seconds=10)))
    assert cell.alarms[RUN, AlarmKind.DEADLINE, 0].due_at == T0 + timedelta(seconds=10)


def test_a_child_is_started_once_however_often_it_is_delivered(cell: CoreCell) -> None:
    leased(cell)
    take(cell, child_of())
    delivery = child_start(cell)
    cell.submit(delivery, replace(delivery))
    cell.ask(delivery)
    assert cell.open_runs[CHILD].parent_run_id == RUN
    assert (RUN, AlarmKind.OUTBOX_CHILD, 1) not in cell.alarms


@pytest.mark.parametrize("other", [{}, {"call_digest": b"other"}])
def test_a_child_whose_id_belongs_to_another_run_fails_and_its_parent_hears_of_it(
    cell: CoreCell, other: dict[str, Any]
) -> None:
    cell.ask(start(2, id="a"))
    leased(cell)
    take(cell, child_of())
    cell.ask(child_start(cell, id="a", **other))
    assert cell.run_results[CHILD].status is RunStatus.FAILED
    assert (CHILD, AlarmKind.OUTBOX_CHILD_CLOSED, 0) in cell.alarms
    assert key_holder(cell, "id", "a") == run_named(2)
