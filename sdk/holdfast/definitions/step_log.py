"""The logger of a step's context: every line says which attempt it comes from."""

import logging
from collections.abc import Mapping, MutableMapping
from typing import Any


class _StepLog(logging.LoggerAdapter[logging.Logger]):
    """Adds its facts to what a call gives as `extra`; the adapter of the library would replace that."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


def step_log(step: str, facts: Mapping[str, object]) -> logging.LoggerAdapter[logging.Logger]:
    """The logger of an attempt of this step; its records have the facts as attributes."""
    return _StepLog(logging.getLogger(f"holdfast.step.{step}"), facts)
