"""What type checkers see of a call that is awaited in one style of workflow code and not in the other.

It stands in annotations only, and is not there at run time.
"""

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

T_co = TypeVar("T_co", covariant=True)

if TYPE_CHECKING:

    class ResultOrCall(Coroutine[object, None, T_co], Any):  # type: ignore[misc]
        """The result of a call in a plain `def` workflow, and something to await elsewhere.

        A type checker does not know which of them calls: awaited it has exactly the type of the result, and without
        `await` it passes for any type. `holdfast.blocking` has the names for code that never awaits.
        """
