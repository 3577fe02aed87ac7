"""Exchanges what modules have imported by name, where a function is exchanged in the module that it comes from."""

import sys
from collections.abc import Mapping
from typing import Any


def exchange_imported_names(exchanged: Mapping[int, tuple[Any, Any]]) -> None:
    """Exchanges names of all modules but Python's own and ours. exchanged: by `id` what was there, and what is now."""
    for module_name, module in list(sys.modules.items()):
        root = module_name.partition(".")[0]
        if (root in sys.stdlib_module_names and root != "__main__") or root in ("holdfast", "holdfast_coordinator"):
            continue
        names = getattr(module, "__dict__", None)
        if type(names) is not dict:
            continue
        for name, value in list(names.items()):
            found = exchanged.get(id(value))
            if found is not None and found[0] is value:
                names[name] = found[1]
