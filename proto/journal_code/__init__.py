"""Makes what must agree with the journal's protocol and its table of kinds: records, wire code and docs/journal.md.

A kind of entry or mail is a message of journal.proto and a row of sdk/holdfast/journal/kinds.py. What is made is plain
Python, one function or class per kind, that looks at no descriptor when it runs.
"""

from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from . import docs, records, wire
from .protocol import Disagreement, Protocol, load_table

__all__ = ["Disagreement", "made"]

ROOT = Path(__file__).resolve().parents[2]


def made(files: FileDescriptorSet, table: dict[str, Any] | None = None) -> dict[str, str]:
    """The text of each file that is made, by its path below the root. Raises Disagreement."""
    protocol = Protocol(files, load_table(ROOT) if table is None else table)
    return {part.PATH: part.text(protocol) for part in (records, wire, docs)}
