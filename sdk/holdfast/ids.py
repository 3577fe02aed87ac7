"""Run ids, start ids and business ids: how they are made, read and checked. Shared by the SDK and the coordinator.

A start id is a ULID in lower case: 26 characters of Crockford's base 32, the first ten a time in
milliseconds, the rest random. A run id is "run_", two characters for the cell, and the start id.
Pure: times and random bytes are arguments.
"""

import re
from functools import lru_cache

CELL_LENGTH = 2
START_ID_LENGTH = 26
RUN_ID_PREFIX = "run_"
CELL_IN_RUN_ID = slice(len(RUN_ID_PREFIX), len(RUN_ID_PREFIX) + CELL_LENGTH)
RUN_ID_LENGTH = len(RUN_ID_PREFIX) + CELL_LENGTH + START_ID_LENGTH
BUSINESS_ID_MAX = 200
RUN_IDS_REMEMBERED = 4_096
"""Run ids whose form need not be looked at again: a worker names the same runs in each of its reports."""

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_WITHOUT_JOINERS = dict.fromkeys(map(ord, "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"))
_START_ID = re.compile(rf"[0-7][{_ALPHABET}]{{{START_ID_LENGTH - 1}}}")
_HOOK_TOKEN = re.compile(rf"hook_([{_ALPHABET}]{{28}})_([1-9][0-9]{{0,5}})_[{_ALPHABET}]{{26}}")
_RUN_ID = re.compile(rf"{RUN_ID_PREFIX}[{_ALPHABET}]{{{CELL_LENGTH}}}[0-7][{_ALPHABET}]{{{START_ID_LENGTH - 1}}}")


def start_id(now_ms: int, entropy: bytes) -> str:
    """A new start id. now_ms: milliseconds since 1970. entropy: 10 random bytes."""
    return _base32(now_ms, 10) + _base32(int.from_bytes(entropy, "big"), 16)


def child_start_id(parent_run_id: str, number: int) -> str:
    """The start id of child `number` of a run: always the same, with the parent's time in front."""
    # Imported here: of all who import this module, only a worker whose run has children needs it.
    import hashlib

    digest = hashlib.sha256(f"{parent_run_id}/{number}".encode()).digest()
    time_part = parent_run_id[len(RUN_ID_PREFIX) + CELL_LENGTH :][:10]
    return time_part + _base32(int.from_bytes(digest[:10], "big"), 16)


def run_id(cell: str, start: str) -> str:
    """The id of the run that `start` makes in `cell`. Raises ValueError when either is malformed."""
    made = f"{RUN_ID_PREFIX}{cell}{start}"
    if not is_run_id(made):
        raise ValueError(f"cell {cell!r} and start id {start!r} do not make a run id")
    return made


def child_run_id(parent_run_id: str, number: int) -> str:
    """The id of child run `number` of a run; a child lives in its parent's cell."""
    return run_id(cell_of(parent_run_id), child_start_id(parent_run_id, number))


def successor_run_id(of_run_id: str) -> str:
    """The id of the run that goes on where a run continues as new: beside its children, which are counted from 1."""
    return child_run_id(of_run_id, 0)


def hook_token(of_run_id: str, number: int, entropy: bytes) -> str:
    """A token for hook `number` of a run. entropy: 16 random bytes, which nobody can guess."""
    return f"hook_{of_run_id[len(RUN_ID_PREFIX) :]}_{number}_{_base32(int.from_bytes(entropy, 'big'), 26)}"


def hook_of(token: str) -> tuple[str, int] | None:
    """The run and the number of the hook that a token is for; None for what is no token."""
    found = _HOOK_TOKEN.fullmatch(token)
    if found is None or not is_run_id(run := f"{RUN_ID_PREFIX}{found[1]}"):
        return None
    return run, int(found[2])


def cell_of(of_run_id: str) -> str:
    """The cell in which a run lives, read from its id."""
    return of_run_id[CELL_IN_RUN_ID]


def is_run_id(text: str) -> bool:
    """True when `text` has the form of a run id; a business id never has it."""
    return len(text) == RUN_ID_LENGTH and _has_form_of_run_id(text)


@lru_cache(RUN_IDS_REMEMBERED)
def _has_form_of_run_id(text: str) -> bool:
    return _RUN_ID.fullmatch(text) is not None


def is_start_id(text: str) -> bool:
    """True when `text` has the form of a start id."""
    return _START_ID.fullmatch(text) is not None


def business_id_problem(text: str) -> str | None:
    """What is wrong with a business id, as the end of a sentence, or None when it is fine."""
    if not text:
        return "is empty"
    if len(text) > BUSINESS_ID_MAX:
        return f"has {len(text)} characters, the limit is {BUSINESS_ID_MAX}"
    if text.startswith(RUN_ID_PREFIX):
        return f"begins with {RUN_ID_PREFIX!r}, which is kept for run ids"
    if not is_printable(text):
        return "has characters that cannot be printed"
    return None


def is_printable(text: str) -> bool:
    """True for text that people can read: of characters that can be printed, and the joiners between them.

    Python takes the two joiners for characters that cannot be printed, but emoji and Persian are written with them.
    """
    if text.isprintable():
        return True
    rest = text.translate(_WITHOUT_JOINERS)
    return rest.isprintable() and bool(rest.strip())


def _base32(value: int, length: int) -> str:
    return "".join(_ALPHABET[value >> 5 * place & 31] for place in range(length - 1, -1, -1))
