"""`holdfast demo --otlp`: what a person sees who opens the trace that it names, with a killed worker in it."""

import re
from collections import Counter
from pathlib import Path

from tests.support.made_packages import DISTRIBUTIONS, demo_process, make_packages

from .server import Jaeger

RUN = "holdfast.run.id"
READINGS_DIFFER_NS = 50_000_000


async def test_the_demo_is_one_whole_trace_without_a_warning(jaeger: Jaeger, tmp_path: Path) -> None:
    async with demo_process(make_packages(tmp_path), "--otlp", f"http://{jaeger.otlp}") as demo:
        assert await demo.wait(seconds=80) == 0, demo.output
    (trace_id,) = set(re.findall(r"http://localhost:16686/trace/([0-9a-f]{32})", demo.output))
    spans = jaeger.query.trace(trace_id)
    assert set(Counter(span.span_id for span in spans).values()) == {1}
    assert [warnings for _, warnings in jaeger.query.web_page(trace_id) if warnings] == []
    by_id = {span.span_id: span for span in spans}
    (root,) = [span for span in spans if not span.parent_id]
    assert root.name == "run audit_machine"
    for span in spans:
        if span is not root:
            above = by_id[span.parent_id]
            # Runs of children and of their parents are timed by different processes' readings of the database's clock.
            slack_ns = 0 if span.attributes[RUN] == above.attributes[RUN] else READINGS_DIFFER_NS
            assert above.start_ns - slack_ns <= span.start_ns, (span, above)
            assert span.end_ns <= above.end_ns + slack_ns, (span, above)
    assert sum(span.name == "run audit_distribution" for span in spans) == DISTRIBUTIONS
    assert any(span.attributes.get("holdfast.attempt.outcome") == "lost" for span in spans)
