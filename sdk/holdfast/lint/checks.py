"""Checks files by all rules, and leaves out what their authors have allowed with `# noqa`."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.lint.awaits import unawaited
from holdfast.lint.calls import Found, forbidden
from holdfast.lint.module_variables import ModuleVariables
from holdfast.lint.modules import SourceModule, SourceTree
from holdfast.lint.rules import BY_CODE, CheckRule
from holdfast.lint.sets import unordered
from holdfast.lint.workflow_code import WorkflowCode, workflow_code

_NOQA = re.compile(r"#\s*noqa(?P<codes>:\s*[A-Z]+[0-9]+(?:[\s,]+[A-Z]+[0-9]+)*)?", re.IGNORECASE)
_CODE = re.compile(r"[A-Z]+[0-9]+")
_UNPARSABLE = BY_CODE["HF001"]


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One place that breaks a rule. line and column begin at 1, as editors count."""

    path: Path
    line: int
    column: int
    code: str
    message: str


def check_files(files: Iterable[Path], codes: frozenset[str] = frozenset(BY_CODE)) -> list[Finding]:
    """What breaks the rules with these codes, in the order of files and lines.

    Raises OSError when a file cannot be read. A file that cannot be parsed is a finding.
    """
    tree = SourceTree()
    found = list[Finding]()
    for path in files:
        found += [one for one in _check_file(path, tree) if one.code in codes]
    return found


def _check_file(path: Path, tree: SourceTree) -> list[Finding]:
    try:
        source = path.read_text(encoding="utf-8")
        if "workflow" not in source:
            return []  # nothing in it can be workflow code, and most files are such
        module = SourceModule(path, source)
    except UnicodeDecodeError as error:
        return [_unparsable(path, 1, 1, f"it is not UTF-8: {error.reason} at byte {error.start}")]
    except SyntaxError as error:
        return [_unparsable(path, error.lineno or 1, error.offset or 1, error.msg)]
    except ValueError as error:
        return [_unparsable(path, 1, 1, str(error))]
    tree.add(module)
    return sorted({*_findings(module, tree)})


def _findings(module: SourceModule, tree: SourceTree) -> Iterator[Finding]:
    codes = workflow_code(module, tree)
    variables = ModuleVariables(module) if codes else None
    for code in codes:
        assert variables is not None
        for found, instead in _of_code(code, module, tree, variables):
            rule, node, what = found
            if not _is_allowed(rule, module.lines, {node.lineno, node.end_lineno or node.lineno}):
                message = f"{what} {_verb(rule)}{code.where}: {instead}"
                yield Finding(module.path, node.lineno, node.col_offset + 1, rule.code, message)


def _of_code(
    code: WorkflowCode, module: SourceModule, tree: SourceTree, variables: ModuleVariables
) -> Iterator[tuple[Found, str]]:
    yield from forbidden(code)
    for found in (*unawaited(code, module, tree), *unordered(code), *variables.misused(code)):
        yield found, found[0].instead


def _verb(rule: CheckRule) -> str:
    return {"HF201": "is not awaited ", "HF203": "is changed while runs use it, "}.get(rule.code, "")


def _is_allowed(rule: CheckRule, lines: list[str], numbers: set[int]) -> bool:
    """Whether the first or the last line of a place has a comment that allows it."""
    for number in numbers:
        for match in _NOQA.finditer(lines[number - 1]) if "noqa" in lines[number - 1].lower() else ():
            codes = match["codes"]
            if codes is None or rule.code in _CODE.findall(codes.upper()):
                return True
    return False


def _unparsable(path: Path, line: int, column: int, problem: str) -> Finding:
    return Finding(path, line, column, _UNPARSABLE.code, f"the file cannot be parsed: {problem}")
