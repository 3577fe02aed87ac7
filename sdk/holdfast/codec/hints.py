"""One validator per type hint, made once: turns JSON bytes into what the hint says.

Lax as pydantic is in JSON mode ("3" fits int, "x" does not). Never looks at the value itself.
"""

from collections.abc import Callable
from typing import Any

from pydantic import ConfigDict, TypeAdapter
from pydantic_core import from_json
from typing_extensions import TypeAliasType

Decoder = Callable[[bytes], Any]

# Bytes travel as base64, so that all of them survive. Pydantic models keep their own configuration.
_CONFIG = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants")

_decoders: dict[Any, Decoder] = {}


def decoder_for(hint: Any) -> Decoder:
    """What decodes JSON to `hint`. Raises what pydantic raises when it cannot handle the hint."""
    try:
        found = _decoders.get(hint)
    except TypeError:  # an unhashable hint, such as Annotated[int, []]
        return _make(hint)
    if found is None:
        found = _decoders[hint] = _make(hint)
    return found


def _make(hint: Any) -> Decoder:
    if hint is Any or hint is object:
        return from_json
    # Through an alias, because pydantic refuses a configuration beside a bare dataclass or TypedDict.
    alias: Any = TypeAliasType("Value", hint)
    adapter: TypeAdapter[Any] = TypeAdapter(alias, config=_CONFIG)
    return adapter.validator.validate_json


_decoders[Any] = _decoders[object] = from_json
