"""Finds in the source of workflow code what a replay cannot repeat. It parses, and never imports, what it checks."""

from holdfast.lint.checked_files import PathNotFound, python_files
from holdfast.lint.checks import Finding, check_files
from holdfast.lint.rules import RULES, CheckRule, RuleUnknown, rules_table, selected_codes

__all__ = [
    "RULES",
    "CheckRule",
    "Finding",
    "PathNotFound",
    "RuleUnknown",
    "check_files",
    "python_files",
    "rules_table",
    "selected_codes",
]
