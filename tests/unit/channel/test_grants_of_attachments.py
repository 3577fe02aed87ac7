"""A grant is fenced by the attachment that it was made to, and a replica says where it can be reached itself."""

from datetime import UTC, datetime

from holdfast.api.v1 import worker_service_pb2 as pb
from holdfast.channel import worker_messages as wire
from holdfast.channel.leases import Work

AT = datetime(2026, 1, 1, tzinfo=UTC)


def answer(*attach_nos: int) -> Work:
    """A poll answer with a lease and a queued attempt for each attachment."""
    response = pb.PollResponse()
    for attach_no in attach_nos:
        response.leases.add(run_id=f"run_{attach_no}", epoch=1, attach_no=attach_no)
        attempt = response.attempts.add(run_id=f"run_{attach_no}", step=1, epoch=1, attach_no=attach_no)
        for time in (attempt.scheduled_at, attempt.eligible_at, attempt.started_at):
            time.FromDatetime(AT)
    return wire.work(response)


def test_a_grant_of_another_attachment_is_dropped() -> None:
    kept = answer(7, 8).granted_to(8)
    assert [lease.run_id for lease in kept.leases] == ["run_8"]
    assert [attempt.run_id for attempt in kept.attempts] == ["run_8"]


def test_grants_of_this_attachment_and_of_a_coordinator_that_names_none_are_taken_as_they_are() -> None:
    work = answer(0, 8)
    assert work.granted_to(8) is work


def test_an_opened_session_knows_the_address_of_its_replica() -> None:
    response = pb.OpenSessionResponse(session_id="ses_1", attach_no=8, address="10.0.0.7:7410")
    response.database_time.FromDatetime(AT)
    assert wire.opened_session(response).address == "10.0.0.7:7410"
