"""The build: one short text that changes when the code of steps and workflows changes. Reads source files only."""

import hashlib
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from holdfast.definitions.definitions import StepDefinition, WorkflowDefinition
from holdfast.definitions.functions import innermost

_DIGITS = 12
_PYTHON = re.compile(r"-py\d+\.\d+$")


def build_of(definitions: Iterable[StepDefinition | WorkflowDefinition]) -> str:
    """The first 12 hex digits of SHA-256 over the source files of the modules that define the functions.

    The same for the same files wherever they lie and in whatever order they come. A module without a source
    file (typed in, or compiled away) counts with its name only.
    """
    modules = {innermost(definition.function).__module__ for definition in definitions}
    digest = hashlib.sha256()
    for content, name in sorted((_source_of(name), name) for name in modules):
        # Two digests of fixed length: no file can be shaped to pass for another pair of name and content.
        digest.update(hashlib.sha256(content).digest())
        if not content:
            digest.update(hashlib.sha256(name.encode()).digest())
    return digest.hexdigest()[:_DIGITS]


def with_python(build: str) -> str:
    """The build as this Python runs it: "3f9a0c1d2e4b-py3.11". What code does may depend on the minor version."""
    return f"{without_python(build)}-py{sys.version_info.major}.{sys.version_info.minor}"


def without_python(build: str) -> str:
    """The build without the Python that runs it."""
    return _PYTHON.sub("", build)


def _source_of(module: str) -> bytes:
    path = getattr(sys.modules.get(module), "__file__", None)
    if path is None:
        return b""
    try:
        return Path(path).read_bytes()
    except OSError:  # inside a zip, or deleted since it was imported
        return b""
