"""What can be wrong with a graph, as one error, and the nearest name to one that is not there. Pure."""

import difflib
from collections.abc import Iterable

from holdfast.errors import HoldfastError


class InvalidGraph(HoldfastError, ValueError):
    """A graph cannot run as it is defined. Raised before any of its tasks runs; names the graph and the task."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence that names what was probably meant: " Did you mean 'fetch'?"; else what there is."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f" Did you mean {close[0]!r}?"
    return f" There is {', '.join(map(repr, sorted(names)))}." if names else ""
