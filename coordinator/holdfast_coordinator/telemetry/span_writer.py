"""Where the builders of a run write their spans: the run's clock, its segments, and its budget. Pure.

A run that outlives `SpanRules.segment` is cut into traces. What begins in a segment belongs to it with all below it,
also when it ends later: ids have to be known when an attempt starts or a child is asked for, not when it ends.
What no entry says the beginning of, user spans and waits without a limit, belongs to the segment in which it ends. So
the run span of a segment is written when a later segment has begun and nothing of it is open any more.
"""

from dataclasses import dataclass
from datetime import timedelta

from holdfast.traces import SpanContext, segment_root, span_ids

from .catalogue import RUN, SpanType
from .spans import Attributes, Link, RunFacts, Span, SpanRules, SpanStatus, cut_text, instant_ns

_RUNNING = "running"


@dataclass(slots=True, frozen=True)
class RunEnd:
    """How a run has ended, for its last run span. word: its status; outcome: what it returned, or why it failed."""

    word: str
    status: SpanStatus = SpanStatus.UNSET
    outcome: Attributes = ()
    successor_run_id: str = ""
    links: tuple[Link, ...] = ()


class Segment:
    """One trace of a run. open: how many things that began in it have not ended. id_of: ids of its spans."""

    __slots__ = ("begins_ns", "earliest_ns", "id_of", "latest_ns", "number", "omitted", "open", "previous", "root")

    def __init__(self, run_id: str, number: int, root: SpanContext, begins_ns: int) -> None:
        self.number = number
        self.root = root
        self.previous: SpanContext | None = None
        self.id_of = span_ids(root.trace_id, run_id)
        self.begins_ns = self.earliest_ns = self.latest_ns = begins_ns
        self.open = 0
        self.omitted = 0


class PartSpan:
    """A named part of the workflow's code that the journal says the beginning of: it has a span once it has ended.

    around: the part that it began in. earliest_ns: when the first thing inside it began. is_shown: something is inside.
    """

    __slots__ = ("around", "earliest_ns", "id", "is_left", "is_shown", "name", "number", "segment", "start_ns")

    def __init__(
        self, number: int, name: str, id: bytes, segment: Segment, start_ns: int, around: "PartSpan | None"
    ) -> None:
        self.number = number
        self.name = name
        self.id = id
        self.segment = segment
        self.start_ns = self.earliest_ns = start_ns
        self.around = around
        self.is_left = False
        self.is_shown = False


def innermost(part: PartSpan | None, segment: Segment) -> PartSpan | None:
    """Where something of this segment belongs that ends now: in the part, or the nearest around it that goes on.

    A part of an earlier segment is in another trace.
    """
    while part is not None and (part.is_left or part.segment is not segment):
        part = part.around
    return part


class SpanWriter:
    """Collects the finished spans of one run.

    now_ns: the time of the newest entry, never going back. is_inherited: True while entries are fed that were copied
    from the run's origin: their spans are in its trace.
    """

    __slots__ = ("_created_ns", "_finished", "_segment_ends_ns", "_segment_ns", "_segments", "_written", "facts",
                 "is_inherited", "now_ns", "rules")  # fmt: skip

    def __init__(self, facts: RunFacts, rules: SpanRules) -> None:
        self.facts = facts
        self.rules = rules
        self.is_inherited = False
        self.now_ns = self._created_ns = instant_ns(facts.created_at)
        self._segment_ns = rules.segment // timedelta(microseconds=1) * 1_000
        self._segments = [Segment(facts.run_id, 0, facts.trace, self._created_ns)]
        self._segment_ends_ns = self._created_ns + self._segment_ns
        self._finished: list[Span] = []
        self._written = 0

    def take(self) -> list[Span]:
        """The spans that were finished since the last time."""
        if len(self._segments) > 1:
            self._settle()
        finished, self._finished = self._finished, []
        return finished

    # Segments

    def segment(self) -> Segment:
        """The segment of what begins now."""
        newest = self._segments[-1]
        if self.now_ns < self._segment_ends_ns:
            return newest
        number = (self.now_ns - self._created_ns) // self._segment_ns
        begins_ns = self._created_ns + number * self._segment_ns
        root = segment_root(self.facts.trace, self.facts.run_id, number)
        following = Segment(self.facts.run_id, number, root, begins_ns)
        following.previous = newest.root
        self._segments.append(following)
        self._segment_ends_ns = begins_ns + self._segment_ns
        return following

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
        what: SpanType,
        number: int,
        attempt: int = 0,
        *,
        text: str = "",
        start_ns: int,
        end_ns: int,
        own: Attributes = (),
        status: SpanStatus = SpanStatus.UNSET,
        parent_id: bytes = b"",
        id: bytes = b"",
        links: tuple[Link, ...] = (),
        always: bool = False,
        inside: PartSpan | None = None,
    ) -> bool:
        """Writes a span below its run span, `parent_id`, or `inside`; False when it is not to be seen.

        inside: the part that it began in, left or not. text: what follows in its name. always: also beyond the budget,
        as failures are. id: where it is known already.
        """
        if not self.admits(segment, status, always=always):
            return False
        self.put(
            segment, what, id or segment.id_of(what.word, number, attempt), parent_id, what.prefix + text,
            start_ns, end_ns, own, status, links, inside,
        )  # fmt: skip
        return True

    def admits(self, segment: Segment, status: SpanStatus, *, always: bool = False) -> bool:
        """Whether one more span is to be seen. It is counted, as written or as left out."""
        if self.is_inherited:
            return False
        if self._written >= self.rules.spans_max and status is not SpanStatus.ERROR and not always:
            segment.omitted += 1
            return False
        self._written += 1
        return True

    def put(
        self,
        segment: Segment,
        what: SpanType,
        id: bytes,
        parent_id: bytes,
        name: str,
        start_ns: int,
        end_ns: int,
        own: Attributes,
        status: SpanStatus,
        links: tuple[Link, ...] = (),
        inside: PartSpan | None = None,
    ) -> None:
        """Writes a span that was admitted. Its times are made to lie within the life of the run so far."""
        if inside is not None:
            inside = innermost(inside, segment)
        # Not min() and max(): this runs twice for every step, and calls cost more than comparisons.
        if start_ns < self._created_ns:
            start_ns = self._created_ns
        elif start_ns > self.now_ns:
            start_ns = self.now_ns
        if end_ns < start_ns:
            end_ns = start_ns
        elif end_ns > self.now_ns:
            end_ns = self.now_ns
        if start_ns == end_ns and not parent_id:
            # Jaeger warns of spans without length. What is directly below the run span, or a named part, can begin a
            # little earlier, for that begins with the earliest; entries have microseconds, so it stays away from all
            # others. Only before the run there is nothing: what is above it began with it.
            if start_ns > self._created_ns:
                start_ns -= 1
            else:
                end_ns += 1
        if inside is not None:
            parent_id = inside.id
            inside.is_shown = True
            if start_ns < inside.earliest_ns:
                inside.earliest_ns = start_ns
        if start_ns < segment.earliest_ns:
            segment.earliest_ns = start_ns
        if end_ns > segment.latest_ns:
            segment.latest_ns = end_ns
        root = segment.root
        self._finished.append(
            Span(
                self.facts,
                root.trace_id,
                id,
                parent_id or root.span_id,
                name,
                what.kind,
                start_ns,
                end_ns,
                status,
                own,
                links,
            )
        )

    # Run spans

    def _settle(self) -> None:
        """Writes the run spans of segments that can get no more spans."""
        while len(self._segments) > 1 and not self._segments[0].open:
            segment = self._segments.pop(0)
            end_ns = max(segment.begins_ns + self._segment_ns, segment.latest_ns)
            self._write_root(segment, end_ns, RunEnd(_RUNNING, links=(Link(self._segments[0].root, "next"),)))

    def close(self, end: RunEnd) -> None:
        """Writes the run span of the last segment; nothing is open any more."""
        self._settle()
        (segment,) = self._segments
        assert not segment.open, (self.facts.run_id, segment.number, segment.open)
        self._write_root(segment, max(self.now_ns, segment.latest_ns), end)

    def _write_root(self, segment: Segment, end_ns: int, end: RunEnd) -> None:
        facts, is_first = self.facts, segment.number == 0
        links = facts.links if is_first else ()
        if segment.previous is not None:
            links += (Link(segment.previous, "previous"),)
        own: list[tuple[str, str | int]] = [("holdfast.run.status", end.word)]
        if facts.queue:
            own.append(("holdfast.queue", facts.queue))
        if facts.input_bytes is not None and is_first:
            own.append(("holdfast.input.bytes", facts.input_bytes))
        own += end.outcome
        if facts.origin_run_id:
            own.append(("holdfast.origin.run.id", facts.origin_run_id))
        if facts.parent_run_id:
            own.append(("holdfast.parent.run.id", facts.parent_run_id))
        if end.successor_run_id:
            own.append(("holdfast.successor.run.id", end.successor_run_id))
        if segment.previous is not None or end.word == _RUNNING:
            own.append(("holdfast.trace.segment", segment.number))
        if segment.omitted:
            own.append(("holdfast.spans.omitted", segment.omitted))
        parent = facts.parent if is_first else None
        self._finished.append(
            Span(
                facts,
                segment.root.trace_id,
                segment.root.span_id,
                parent.span_id if parent is not None else b"",
                RUN.prefix + cut_text(facts.workflow),
                RUN.kind,
                min(segment.earliest_ns, end_ns - 1),
                end_ns,
                end.status,
                tuple(own),
                links + end.links,
            )
        )
