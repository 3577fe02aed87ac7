"""Pieces of Python text that the generated modules share, laid out as `ruff format` lays them out."""

import re

LINE_MAX = 120


def imports(module: str, names: str, code: str) -> list[str]:
    """The lines that import those of these names, divided by spaces, that the code uses."""
    used = [name for name in names.split() if re.search(rf"\b{name}\b", code)]
    line = f"from {module} import {', '.join(used)}"
    if len(line) <= LINE_MAX:
        return [line] if used else []
    return [f"from {module} import (", *(f"    {name}," for name in used), ")"]
