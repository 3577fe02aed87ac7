"""The limits that both sides enforce before anything is committed. Shared by the SDK and the coordinator."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, journals in entries. The coordinator announces its own in OpenSession.

    nesting: how many runs may be above a run, from its parent up.
    """

    payload_bytes: int = 2 * 1024 * 1024
    error_text_bytes: int = 64 * 1024
    transition_bytes: int = 8 * 1024 * 1024
    message_bytes: int = 16 * 1024 * 1024
    journal_entries: int = 50_000
    journal_entries_warn: int = 10_000
    journal_bytes: int = 256 * 1024 * 1024
    journal_bytes_warn: int = 64 * 1024 * 1024
    journal_page_bytes: int = 1024 * 1024
    nesting: int = 20


DEFAULT_LIMITS = Limits()

PROBLEM_MAX = 500
"""Characters of what is said of a signal that does not fit."""

AGAIN_MAX = 10_000
"""Steps that a retry may name to run again."""
REASON_MAX = 1_000
"""Characters of why a run is to end."""

CONTEXT_BYTES_MAX = 16 * 1024
"""The largest context of steps, in bytes: it goes with each of them."""

METADATA_ENTRIES_MAX = 64
METADATA_BYTES_MAX = 8 * 1024
"""Of the metadata of a run, all together."""
METADATA_VALUE_MAX = 2_000
"""Characters of one fact that workflow code sets."""

NOTE_MAX = 2_000
"""Characters of a note that workflow code writes."""

NOTE_LEVELS = ("debug", "info", "warning", "error")

NAME_MAX = 200
"""The longest name of a workflow, step, queue, signal or namespace, in characters."""

BAGGAGE_BYTES_MAX = 8_192
BAGGAGE_ENTRIES_MAX = 64
"""The largest `baggage` header that is looked at, as W3C Baggage limits it."""

PRIORITY_MAX = 100
"""Priorities are whole numbers from minus this to this, lower first."""

SPAN_MAX = timedelta(days=3653)
"""The longest wait, delay or deadline: ten years."""

DEFAULT_PORT = 7410
"""Where a coordinator listens unless it is configured otherwise."""

STARTS_PER_CALL_MAX = 1_000
WAITED_RUNS_MAX = 5_000


def journal_problem(entries: int, size_bytes: int, entries_max: int, bytes_max: int) -> str:
    """Which of two limits the journal of a run has come to; "" for none."""
    if entries >= entries_max:
        what = f"its journal has {entries:,} entries, the limit is {entries_max:,} (HOLDFAST_JOURNAL_ENTRIES_MAX"
    elif size_bytes >= bytes_max:
        what = f"its journal has {size_bytes:,} bytes, the limit is {bytes_max:,} (HOLDFAST_JOURNAL_BYTES_MAX"
    else:
        return ""
    return (
        f"{what} of the coordinator); let the run go on as a new one with continue_as_new, or split it into child runs"
    )


def nesting_problem(workflow: str, depth: int, limit: int) -> str:
    """Why there can be no child with so many runs above it; "" when there can."""
    if depth <= limit:
        return ""
    return (
        f"a child run of {workflow} would have {depth} runs above it, the limit is {limit} (HOLDFAST_NESTING_MAX of "
        "the coordinator); let a run above start it, or let one run go on as a new one"
    )
