"""The rules of `holdfast check`, as a table: code, what is found, why it is wrong, what to write instead."""

from collections.abc import Iterable
from typing import NamedTuple

from holdfast import forbidden_calls
from holdfast.errors import HoldfastError, NotAwaited
from holdfast.forbidden_calls import Kind


class CheckRule(NamedTuple):
    """One rule. what, why and instead are phrases without a full stop. kind: of the forbidden calls it is about."""

    code: str
    what: str
    why: str
    instead: str
    kind: Kind | None = None


class RuleUnknown(HoldfastError):
    """There is no rule whose code is this text or begins with it."""

    def __init__(self, given: str) -> None:
        super().__init__(
            f"{given!r} is no rule; rules are {RULES[0].code} to {RULES[-1].code}, or a beginning such as HF1"
        )
        self.given = given


RULES = (
    CheckRule("HF001", "a file that cannot be parsed", "nothing in it is checked", "correct its syntax"),
    CheckRule("HF101", "clocks", "a replay reads another time", forbidden_calls.NOW, "clock"),
    CheckRule(
        "HF102", "`time.sleep`", "it blocks a thread of the worker and is not durable", forbidden_calls.SLEEP, "sleep"
    ),
    CheckRule("HF103", "randomness", "a replay draws other numbers", forbidden_calls.RANDOM, "random"),
    CheckRule("HF104", "UUIDs", "a replay makes other ids", forbidden_calls.UUID, "uuid"),
    CheckRule("HF105", "files and the terminal", "a replay finds other contents", forbidden_calls.STEP, "file"),
    CheckRule("HF106", "the network", "a replay asks again, and gets another answer", forbidden_calls.STEP, "network"),
    CheckRule("HF107", "processes", "a replay starts them again", forbidden_calls.STEP, "process"),
    CheckRule("HF108", "threads", "their order differs in each replay", forbidden_calls.STEP, "thread"),
    CheckRule(
        "HF109", "signals and the end of the process", "the process has other runs", forbidden_calls.PROCESS, "shared"
    ),
    CheckRule(
        "HF110",
        "what differs between processes: environment, `os.getpid()`, `hash()`, `id()`",
        "a replay runs in another process",
        "pass it as an argument, or put this in a step",
    ),
    CheckRule(
        "HF201",
        "a step, child run, sleep or other call that is not awaited",
        "it is never done, and the run fails with NotAwaited",
        f"write `await` before the call, {NotAwaited.OR_TOGETHER}",
    ),
    CheckRule(
        "HF202",
        "steps in the order of a set",
        "sets of texts have another order in each process",
        "put `sorted(...)` around the set",
    ),
    CheckRule(
        "HF203",
        "module variables that code changes",
        "other runs share them, and a replay finds other values",
        "keep it in a local variable, or pass it as an argument",
    ),
)

BY_CODE = {rule.code: rule for rule in RULES}
BY_KIND = {rule.kind: rule for rule in RULES if rule.kind is not None}


def selected_codes(select: Iterable[str], ignore: Iterable[str]) -> frozenset[str]:
    """The codes of the rules that are asked for. Both have codes or beginnings of codes; no `select` means all.

    Raises RuleUnknown.
    """
    wanted, unwanted = _codes_of(select), _codes_of(ignore)
    return frozenset((wanted or BY_CODE.keys()) - unwanted)


def _codes_of(given: Iterable[str]) -> set[str]:
    found = set[str]()
    for text in given:
        codes = {code for code in BY_CODE if text and code.startswith(text)}
        if not codes:
            raise RuleUnknown(text)
        found |= codes
    return found


def rules_table() -> str:
    """The rules as a table in Markdown, as the guide shows them."""
    rows = [f"| {rule.code} | {rule.what} | {rule.why} | {rule.instead} |" for rule in RULES]
    return "\n".join(["| code | finds | why | instead |", "|---|---|---|---|", *rows]) + "\n"
