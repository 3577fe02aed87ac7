"""What a project says of itself to the command line: [tool.holdfast] of the pyproject.toml where it is run."""

import tomllib
from pathlib import Path

from holdfast.errors import HoldfastError

FILE = "pyproject.toml"
TABLE = "tool.holdfast"


class ProjectFileUnusable(HoldfastError):
    """The project file cannot be read, or has an entry that is not understood."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


def modules_of_project(directory: Path) -> list[str]:
    """The modules that `[tool.holdfast] modules = ["shop.flows"]` names; none when there is no such file or table.

    Raises ProjectFileUnusable.
    """
    path = directory / FILE
    try:
        project = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ProjectFileUnusable(path, f"cannot be read: {error}") from error
    modules = project.get("tool", {}).get("holdfast", {}).get("modules", [])
    if not isinstance(modules, list) or not all(isinstance(module, str) for module in modules):
        raise ProjectFileUnusable(path, f'[{TABLE}] modules is a list of texts like ["shop.flows"], not {modules!r}')
    return modules
