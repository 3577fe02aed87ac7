"""`--codecs module:factory`: the payload codecs of a command, made by the user's own code."""

import importlib
import os
import sys
from collections.abc import Iterable
from typing import Any

import typer

from holdfast.errors import HoldfastError

_HINT = "--codecs"


def load_codecs(target: str | None) -> list[Any]:
    """The codecs that "shop.codecs:make" gives, called without arguments; or those that it is. None: no codecs.

    A usage error when it is malformed; HoldfastError when it cannot be imported or gives no codecs.
    """
    if target is None:
        return []
    module_name, _, attribute = target.partition(":")
    if not module_name or not attribute:
        raise typer.BadParameter(f'{target!r} is not "module:factory", such as "shop.codecs:make"', param_hint=_HINT)
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module_name), attribute)
        codecs = list(_iterable(found() if callable(found) else found))
    except Exception as error:
        raise HoldfastError(f"{_HINT} {target} gives no codecs: {type(error).__name__}: {error}") from error
    from holdfast.codecs import CodecChain

    try:
        CodecChain(codecs)
    except (TypeError, ValueError) as error:
        raise HoldfastError(f"{_HINT} {target}: {error}") from error
    return codecs


def _iterable(made: Any) -> Iterable[Any]:
    if not isinstance(made, Iterable):
        raise TypeError(f"it gives {made!r}, and a list of codecs is needed")
    return made
