"""A journal row that is put together around bodies which only the database has is the row with these bodies."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from holdfast.journal import TimerFired
from holdfast_coordinator.domain.mail import MailKind, MailRow, SignalMail, StoredBody
from holdfast_coordinator.domain.rows import CoordinatorEntry, JournalRow, MailConsumedEntry, MailUndeliveredEntry
from holdfast_coordinator.wire.entries import encode_mail
from holdfast_coordinator.wire.journals import journal_message
from holdfast_coordinator.wire.stored_mail import parts_of
from tests.support.store_rows import ENTRY, T0

bodies = st.builds(lambda size: encode_mail(SignalMail("text", b"")) + b"\x1a\x00" * size, st.integers(0, 9_000))
ats = st.integers(0, 10**9).map(lambda seconds: T0 + timedelta(seconds=seconds))


@st.composite
def entries(draw: st.DrawFn) -> tuple[bytes | CoordinatorEntry, bytes | CoordinatorEntry, dict[int, bytes]]:
    """An entry with its mail whole, the same with a stored body, and that body by the number of the mail."""
    if draw(st.booleans()):
        other = draw(
            st.sampled_from([ENTRY, MailConsumedEntry(T0, MailRow("r", 1, MailKind.TIMER, T0, TimerFired(3)))])
        )
        return other, other, {}
    body, number = draw(bodies), draw(st.integers(1, 2**40))
    whole = MailRow("r", number, MailKind.SIGNAL, draw(ats), body)
    stored = MailRow("r", number, MailKind.SIGNAL, whole.arrived_at, StoredBody(len(body)))
    at = draw(ats)
    if draw(st.booleans()):
        return MailUndeliveredEntry(at, whole), MailUndeliveredEntry(at, stored), {number: body}
    since = draw(st.none() | ats)
    return MailConsumedEntry(at, whole, since), MailConsumedEntry(at, stored, since), {number: body}


@given(st.lists(entries(), min_size=1, max_size=4))
def test_the_parts_and_the_bodies_joined_are_the_row(
    made: list[tuple[bytes | CoordinatorEntry, bytes | CoordinatorEntry, dict[int, bytes]]],
) -> None:
    whole = JournalRow("r", 9, len(made), 1, 1, [one for one, _, _ in made])
    stored = JournalRow("r", 9, len(made), 1, 1, [one for _, one, _ in made])
    of_entries = [body for _, _, kept in made for body in kept.values()]
    joined, left = b"", iter(of_entries)
    for part, number in parts_of(stored):
        joined += part + (next(left) if number is not None else b"")
    assert not list(left)
    assert stored.has_stored_mail is bool(of_entries)
    assert journal_message(JournalRow("r", 9, len(made), 1, 1, [joined])) == journal_message(whole)
