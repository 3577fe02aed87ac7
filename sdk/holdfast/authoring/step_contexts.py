"""`set_context`: what a workflow sets once for all its steps."""

from typing import Any

from holdfast.authoring.primitives import _runtime


def set_context(value: object, /) -> None:
    """Sets what the steps that are called from now on can read: `holdfast.set_context(Tenant("t-1"))`.

    A step reads it by its context: `ctx.context(Tenant)`, also on another worker, in another attempt, after a crash; it
    gets what was set when it was called. The last one counts; None takes it away. Children do not get it.
    value: an object of a frozen dataclass or a frozen pydantic model, which nobody can change, at most 16 KiB as JSON.
    Raises TypeError for anything else, PayloadNotSerializable, PayloadTooLarge, and RuntimeError outside a run.
    """
    if value is not None and not _is_frozen(value):
        raise TypeError(
            "set_context takes an object of a frozen dataclass or a frozen pydantic model, not "
            f"{type(value).__name__}: write @dataclass(frozen=True), or model_config = ConfigDict(frozen=True)"
        )
    _runtime("set_context").set_context(value)


def _is_frozen(value: object) -> bool:
    kind: Any = type(value)
    parameters = getattr(kind, "__dataclass_params__", None)
    if parameters is not None:
        return bool(parameters.frozen)
    config = getattr(kind, "model_config", None)
    return isinstance(config, dict) and bool(config.get("frozen"))
