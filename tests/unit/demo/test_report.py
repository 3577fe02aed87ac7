"""The report stays short however long the history is that it shows."""

from datetime import UTC, datetime

from holdfast.cli.story import AttemptStory, Event, StepStory, Story
from holdfast.statuses import StepStatus
from holdfast_coordinator.demo.report import STEPS_SHOWN, shortened

AT = datetime(2026, 1, 2, tzinfo=UTC)


def step(number: int, *, attempts: int = 1) -> StepStory:
    made = {attempt: AttemptStory(attempt) for attempt in range(1, attempts + 1)}
    return StepStory(number, "verify_chunk", StepStatus.COMPLETED, AT, attempts=made)


def test_a_short_story_is_told_whole() -> None:
    story: Story = [
        Event(AT, "started"),
        *(step(number) for number in range(1, STEPS_SHOWN + 1)),
        Event(AT, "completed"),
    ]
    assert shortened(story) == story


def test_of_a_long_story_the_first_step_and_the_repeated_ones_are_told() -> None:
    story: Story = [step(number, attempts=2 if number in (50, 90) else 1) for number in range(1, 101)]
    told = shortened(story)
    numbers = [item.number for item in told if isinstance(item, StepStory)]
    assert numbers == [1, 2, 3, 4, 5, 6, 50, 90]
    gaps = [item.text for item in told if isinstance(item, Event)]
    assert gaps == ["43 more step(s)", "39 more step(s)", "10 more step(s)"]
