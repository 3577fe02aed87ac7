"""Leases that the coordinator ends: what counts as a loss, and who is named to the next holder."""

from datetime import timedelta

import pytest

from holdfast.journal import RunStalled
from holdfast_coordinator.domain.commands import (
    EndLease,
    LeaseEnd,
)
from holdfast_coordinator.domain.events import LeaseEnded
from holdfast_coordinator.domain.rows import AlarmKind, RunState
from holdfast_coordinator.domain.workspace import LOSSES_MAX
from tests.support.core_cell import CoreCell
from tests.support.core_commands import (
    OTHER,
    RUN,
    WORKER,
    fire,
    leased,
    offer,
    take,
)

MINUTE = timedelta(minutes=1)


def lose_lease(cell: CoreCell, reason: LeaseEnd = LeaseEnd.LOST) -> bool:
    run = cell.open_runs[RUN]
    return bool(cell.ask(EndLease(RUN, run.owner or "", run.epoch, reason)))


def test_a_lost_lease_raises_the_epoch_and_tells_the_holder(cell: CoreCell) -> None:
    leased(cell)
    assert lose_lease(cell)
    run = cell.open_runs[RUN]
    assert (run.state, run.epoch, run.losses) == (RunState.READY, 2, 1)
    assert LeaseEnded(WORKER, RUN, 0, 1) in cell.events


def test_a_lease_that_has_moved_on_is_not_ended(cell: CoreCell) -> None:
    leased(cell)
    assert not cell.ask(EndLease(RUN, WORKER, 2, LeaseEnd.LOST))
    assert not cell.ask(EndLease(RUN, OTHER, 1, LeaseEnd.LOST))
    assert cell.open_runs[RUN].owner == WORKER


def test_five_losses_without_a_transition_stall_the_run(cell: CoreCell) -> None:
    leased(cell)
    for _ in range(LOSSES_MAX):
        offer(cell, OTHER)
        lose_lease(cell)
    run = cell.open_runs[RUN]
    assert run.state is RunState.STALLED
    assert run.stall_reason is not None
    assert "5 workers were lost" in run.stall_reason
    assert isinstance(cell.entries(RUN)[-1], RunStalled)


def test_a_transition_forgets_the_losses_before_it(cell: CoreCell) -> None:
    leased(cell)
    for _ in range(2 * LOSSES_MAX):
        offer(cell, OTHER)
        lose_lease(cell)
        take(cell)
    assert cell.open_runs[RUN].state is RunState.LEASED


@pytest.mark.parametrize("reason", [LeaseEnd.UNDELIVERED, LeaseEnd.CLOSED_SESSION])
def test_a_lease_that_was_not_lost_does_not_count_as_a_loss(cell: CoreCell, reason: LeaseEnd) -> None:
    leased(cell)
    for _ in range(2 * LOSSES_MAX):
        offer(cell, OTHER)
        lose_lease(cell, reason)
    assert cell.open_runs[RUN].losses == 0


def test_a_run_that_was_lost_once_is_leased_with_the_session_that_lost_it(cell: CoreCell) -> None:
    leased(cell)
    take(cell)
    offer(cell, OTHER)
    lose_lease(cell)
    assert [event.lost_session_id for event in cell.leases()] == [WORKER]
    take(cell)
    offer(cell, WORKER)
    lose_lease(cell)
    assert [event.lost_session_id for event in cell.leases()] == [OTHER]


def test_a_run_that_was_taken_for_its_deadline_is_leased_with_the_session_that_had_it(cell: CoreCell) -> None:
    leased(cell)
    take(cell, attempt_deadline=MINUTE)
    cell.pass_time(60)
    offer(cell, OTHER)
    fire(cell, AlarmKind.ATTEMPT_DEADLINE)
    assert [event.lost_session_id for event in cell.leases()] == [WORKER]
    offer(cell, "ses_third")
    lose_lease(cell)
    assert [event.lost_session_id for event in cell.leases()] == [""], "the attempts were not those of the second"


@pytest.mark.parametrize("reason", list(LeaseEnd))
def test_after_two_ends_of_leases_without_a_transition_nobody_is_named(cell: CoreCell, reason: LeaseEnd) -> None:
    leased(cell)
    take(cell)
    offer(cell, OTHER)
    lose_lease(cell)
    offer(cell, "ses_third")
    lose_lease(cell, reason)
    assert [event.lost_session_id for event in cell.leases()] == [""]


@pytest.mark.parametrize("reason", list(LeaseEnd))
def test_only_what_its_session_had_and_could_not_go_on_with_is_leased_as_handed_back(
    cell: CoreCell, reason: LeaseEnd
) -> None:
    leased(cell)
    take(cell)
    offer(cell, OTHER)
    lose_lease(cell, reason)
    assert [event.handed_back for event in cell.leases()] == [reason is LeaseEnd.UNDELIVERED]
    # The second one never had it: whether the attempts of the first were lost is not known any more.
    offer(cell, "ses_third")
    lose_lease(cell, LeaseEnd.UNDELIVERED)
    assert [event.handed_back for event in cell.leases()] == [False]


def test_a_loss_before_is_not_forgotten_when_the_next_session_cannot_go_on(cell: CoreCell) -> None:
    leased(cell)
    take(cell)
    for reason in (LeaseEnd.LOST, LeaseEnd.UNDELIVERED):
        offer(cell, OTHER)
        lose_lease(cell, reason)
        assert [event.handed_back for event in cell.leases()] == [False]


def test_a_lease_without_a_loss_names_nobody(cell: CoreCell) -> None:
    leased(cell)
    assert [event.lost_session_id for event in cell.leases()] == [""]
    offer(cell, OTHER)
    lose_lease(cell, LeaseEnd.UNDELIVERED)
    assert [event.lost_session_id for event in cell.leases()] == [""]
