"""The journal that the replay case makes up is one that workflow code accepts, in the form that workers receive."""

from benchmarks.replay import recorded_pages, replay_us_per_step
from holdfast.api.v1 import worker_service_pb2
from holdfast.channel.worker_messages import journal_page
from holdfast.journal import RunClosed, StepCompleted


def test_a_recorded_journal_has_every_step_and_its_close_and_can_be_replayed() -> None:
    pages = recorded_pages(20)
    read = [journal_page(worker_service_pb2.ReadJournalResponse.FromString(page)) for page in pages]
    entries = [entry for page in read for row in page.rows for entry in row.entries]
    assert sum(isinstance(entry, StepCompleted) for entry in entries) == 20
    assert isinstance(entries[-1], RunClosed)
    assert replay_us_per_step(pages, 20) > 0
