"""Says how far the audit is: a live bar in a terminal, plain lines elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class Announcer:
    """What happens, in the words of the demo."""

    def __init__(self, console: Console, bar: Progress) -> None:
        self._console = console
        self._bar = bar
        self._task = bar.add_task("distributions", total=None)
        self._tenths_said = 0

    def say(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text, highlight=False)

    def closed(self, count: int, total: int) -> None:
        """How many distributions are audited. Without a terminal, every tenth of them makes a line."""
        self._bar.update(self._task, completed=count, total=total)
        tenths = 10 * count // total if total else 10
        if tenths > self._tenths_said and not self._console.is_terminal:
            self.say(f"  {count} of {total} distributions")
        self._tenths_said = tenths


@contextmanager
def announcing(console: Console) -> Iterator[Announcer]:
    """An announcer; its bar is there for as long as the block runs."""
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield Announcer(console, bar)
