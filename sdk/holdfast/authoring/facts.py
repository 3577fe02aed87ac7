"""`set_metadata`: facts about a run that its own code sets, for filters and people."""

from typing import Any

from holdfast.authoring.primitives import _runtime
from holdfast.definitions.options import checked_metadata
from holdfast.limits import METADATA_VALUE_MAX


def set_metadata(metadata: Any = None, /, **facts: Any) -> None:
    """Sets facts about the run: `holdfast.set_metadata(stage="packing", boxes=3)`, or a mapping of any keys.

    Listings find the run by them from then on, descriptions show them, and the run that goes on as a new one has them.
    What a fact said before is replaced; the history shows each. Values are text, numbers, True or False, kept as text.
    Raises TypeError and ValueError for anything else, InvalidRequest for more than 64 facts or 8 KiB of a run together,
    and RuntimeError outside a run.
    """
    checked = {**checked_metadata("set_metadata", metadata), **checked_metadata("set_metadata", facts)}
    for key, value in checked.items():
        if len(value) > METADATA_VALUE_MAX:
            raise ValueError(
                f"set_metadata: {key!r} has {len(value):,} characters, the limit is {METADATA_VALUE_MAX:,}"
            )
    _runtime("set_metadata").set_metadata(checked)
