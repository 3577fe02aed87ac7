"""Whether a KeyboardInterrupt can be a person's Ctrl-C, or was raised by the code that it leaves.

One that cannot have come from outside is an error of the code like any other: it must not end the process that runs
the code of others too. Threads and signals are the matter of what drives the code, so the answer is given there.
"""

from collections.abc import Callable


def _always() -> bool:
    return True


_judge: Callable[[], bool] = _always


def can_be_from_outside() -> bool:
    """True when a KeyboardInterrupt that is raised here may be a signal and has to reach the program."""
    return _judge()


def judge_by(judge: Callable[[], bool]) -> None:
    """From now on `judge` answers for this process."""
    global _judge
    _judge = judge
