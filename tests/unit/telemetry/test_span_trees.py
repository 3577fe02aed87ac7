"""The spans of hand-written journals, whole: golden/*.txt shows them as trees.

HOLDFAST_WRITE_GOLDEN=1 writes the files anew; read the difference before you commit it.
"""

import os

import pytest
from golden_journals import CALLER_HEADER, DECLINED, SCENARIOS, Scenario
from golden_trees import FOLDER, drawn, golden
from written_journals import T0, facts

from holdfast.api.v1 import value_pb2
from holdfast_coordinator.telemetry.messages import UpdateSpans
from holdfast_coordinator.telemetry.run_trace import spans_of
from holdfast_coordinator.telemetry.spans import SpanRules, instant_ns
from holdfast_coordinator.telemetry.waits import HaltSpans
from holdfast_coordinator.telemetry.writer import SpanWriter


def check(name: str, found: str) -> None:
    if os.environ.get("HOLDFAST_WRITE_GOLDEN"):
        (FOLDER / f"{name}.txt").write_text(found)
    assert found == golden(name)


@pytest.mark.parametrize("name", [scenario.__name__ for scenario in SCENARIOS])
def test_a_journal_becomes_the_tree_that_a_person_would_draw(name: str) -> None:
    (scenario,) = [one for one in SCENARIOS if one.__name__ == name]
    written: Scenario = scenario()
    check(name, drawn(spans_of(*written)))


def test_updates_and_pauses_have_their_spans_before_the_protocol_has_their_entries() -> None:
    writer = SpanWriter(facts(), SpanRules())
    updates, halts = UpdateSpans(writer), HaltSpans(writer)

    def pass_to(second: float) -> None:
        writer.now_ns = instant_ns(T0) + round(second * 1e9)

    pass_to(1)
    updates.accepted(1, "set address", value_pb2.TraceContext(traceparent=CALLER_HEADER))
    updates.accepted(2, "add item", value_pb2.TraceContext())
    updates.accepted(3, "remove item", value_pb2.TraceContext(traceparent="malformed"))
    halts.paused(4)
    pass_to(2.5)
    updates.completed(1)
    updates.completed(2, failure=DECLINED)
    halts.resumed()
    pass_to(3)
    updates.close()

    check("updates_and_a_pause", drawn(writer.take()))
