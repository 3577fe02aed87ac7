"""Where the builders of a run write their spans: the run's clock, its segments, and its budget. Pure.

A run that outlives `SpanRules.segment` is cut into traces. What begins in a segment belongs to it with all below it,
also when it ends later: ids have to be known when an attempt starts or a child is asked for, not when it ends.
So the run span of a segment is written when a later segment has begun and nothing of it is open any more.
"""

from datetime import timedelta

from holdfast.traces import SpanContext, SpanOf, segment_root, span_id

from .spans import Attributes, Link, RunFacts, Span, SpanKind, SpanRules, SpanStatus, cut_text, instant_ns


class Segment:
    """One trace of a run. open: how many things that began in it have not ended."""

    __slots__ = ("begins_ns", "earliest_ns", "latest_ns", "number", "omitted", "open", "previous", "root")

    def __init__(self, number: int, root: SpanContext, begins_ns: int, previous: SpanContext | None) -> None:
        self.number = number
        self.root = root
        self.previous = previous
        self.begins_ns = self.earliest_ns = self.latest_ns = begins_ns
        self.open = 0
        self.omitted = 0


class SpanWriter:
    """Collects the finished spans of one run.

    now_ns: the time of the newest entry, never going back. is_inherited: True while entries are fed that were copied
    from the run's origin: their spans are in its trace.
    """

    __slots__ = ("_created_ns", "_finished", "_segment_ns", "_segments", "_written", "facts", "is_inherited", "now_ns",
                 "rules")  # fmt: skip

    def __init__(self, facts: RunFacts, rules: SpanRules) -> None:
        self.facts = facts
        self.rules = rules
        self.is_inherited = False
        self.now_ns = self._created_ns = instant_ns(facts.created_at)
        self._segment_ns = rules.segment // timedelta(microseconds=1) * 1_000
        self._segments = [Segment(0, facts.trace, self._created_ns, None)]
        self._finished: list[Span] = []
        self._written = 0

    def take(self) -> list[Span]:
        """The spans that were finished since the last time."""
        finished, self._finished = self._finished, []
        return finished

    # Segments

    def segment(self) -> Segment:
        """The segment of what begins now."""
        newest = self._segments[-1]
        number = (self.now_ns - self._created_ns) // self._segment_ns
        if number <= newest.number:
            return newest
        root = segment_root(self.facts.trace, self.facts.run_id, number)
        self._segments.append(Segment(number, root, self._created_ns + number * self._segment_ns, newest.root))
        return self._segments[-1]

    def begin(self) -> Segment:
        """The same, and it stays open until this thing has ended."""
        segment = self.segment()
        segment.open += 1
        return segment

    def end(self, segment: Segment) -> None:
        """Something that began in the segment has ended."""
        segment.open -= 1
        assert segment.open >= 0, (self.facts.run_id, segment.number)

    # Spans

    def write(
        self,
        segment: Segment,
        of: SpanOf,
        number: int,
        attempt: int = 0,
        *,
        name: str,
        kind: SpanKind,
        start_ns: int,
        end_ns: int,
        own: Attributes = (),
        status: SpanStatus = SpanStatus.UNSET,
        parent_id: bytes = b"",
        links: tuple[Link, ...] = (),
        always: bool = False,
    ) -> bool:
        """Writes a span below its run span, or `parent_id`; False when it is not to be seen.

        always: also beyond the budget, as failures are.
        """
        if self.is_inherited:
            return False
        if self._written >= self.rules.spans_max and status is not SpanStatus.ERROR and not always:
            segment.omitted += 1
            return False
        self._written += 1
        start_ns = min(max(start_ns, self._created_ns), self.now_ns)
        end_ns = min(max(end_ns, start_ns), self.now_ns)
        segment.earliest_ns = min(segment.earliest_ns, start_ns)
        segment.latest_ns = max(segment.latest_ns, end_ns)
        trace_id = segment.root.trace_id
        self._finished.append(
            Span(
                self.facts,
                trace_id,
                span_id(trace_id, self.facts.run_id, of, number, attempt),
                parent_id or segment.root.span_id,
                name,
                kind,
                start_ns,
                end_ns,
                status,
                own,
                links,
            )
        )
        return True

    # Run spans

    def settle(self) -> None:
        """Writes the run spans of segments that can get no more spans."""
        while len(self._segments) > 1 and not self._segments[0].open:
            segment = self._segments.pop(0)
            end_ns = max(segment.begins_ns + self._segment_ns, segment.latest_ns)
            following = Link(self._segments[0].root, "next")
            self._write_root(segment, end_ns, "running", SpanStatus.UNSET, (), (following,))

    def close(self, run_status: str, status: SpanStatus, own: Attributes) -> None:
        """Writes the run span of the last segment; nothing is open any more. own: what follows holdfast.queue."""
        self.settle()
        (segment,) = self._segments
        assert not segment.open, (self.facts.run_id, segment.number, segment.open)
        self._write_root(segment, self.now_ns, run_status, status, own, ())

    def _write_root(
        self,
        segment: Segment,
        end_ns: int,
        run_status: str,
        status: SpanStatus,
        own: Attributes,
        following: tuple[Link, ...],
    ) -> None:
        facts, first = self.facts, segment.number == 0
        links = facts.links if first else ()
        if segment.previous is not None:
            links += (Link(segment.previous, "previous"),)
        attributes: list[tuple[str, str | int]] = [("holdfast.run.status", run_status)]
        if facts.queue:
            attributes.append(("holdfast.queue", facts.queue))
        if facts.input_bytes is not None and first:
            attributes.append(("holdfast.input.bytes", facts.input_bytes))
        attributes += own
        if facts.origin_run_id:
            attributes.append(("holdfast.origin.run.id", facts.origin_run_id))
        if facts.parent_run_id:
            attributes.append(("holdfast.parent.run.id", facts.parent_run_id))
        if segment.previous is not None or following:
            attributes.append(("holdfast.trace.segment", segment.number))
        if segment.omitted:
            attributes.append(("holdfast.spans.omitted", segment.omitted))
        parent = facts.parent if first else None
        self._finished.append(
            Span(
                facts,
                segment.root.trace_id,
                segment.root.span_id,
                parent.span_id if parent is not None else b"",
                f"run {cut_text(facts.workflow)}",
                SpanKind.SERVER,
                segment.earliest_ns,
                end_ns,
                status,
                tuple(attributes),
                links + following,
            )
        )
