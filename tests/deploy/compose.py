"""Reads deploy/compose.yaml as Compose does: merged keys, no fragments. Starts nothing."""

from typing import Any

import yaml

from .chart import DEPLOY


def read(file: str) -> list[Any]:
    """The documents of a YAML file below deploy/."""
    return list(yaml.safe_load_all((DEPLOY / file).read_text("utf-8")))


def document() -> dict[str, Any]:
    """The file without its fragments, whose names begin with x-."""
    (whole,) = read("compose.yaml")
    return {key: value for key, value in whole.items() if not key.startswith("x-")}


def services() -> dict[str, dict[str, Any]]:
    """The services, by name."""
    found: dict[str, dict[str, Any]] = document()["services"]
    return found
