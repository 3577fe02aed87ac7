"""Modules of this package as processes of their own: they find it from any working directory, and for any revision."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CELLS_VARIABLE = "HOLDFAST_BENCH_CELLS"
"""How many cells a coordinator that program.py runs has; no option of holdfast says that yet."""

SETTINGS = "HOLDFAST_"
POSTGRES_BIN = "HOLDFAST_POSTGRES_BIN"
"""Where the programs of the server are is a fact of the machine; all other settings change what is measured."""

COMPILES_ANEW = "PYTHONDONTWRITEBYTECODE"
"""With it each process compiles what has changed since the last installation, which takes longer than to import it."""


def command_of(module: str, arguments: Sequence[str] = (), *, python: str = sys.executable) -> tuple[str, ...]:
    """The command that runs benchmarks.<module>. python: the interpreter, such as that of another environment."""
    # -P: a folder `benchmarks` in the working directory is another one.
    return (python, "-P", "-m", f"{__package__}.{module}", *arguments)


def environment(checkout: Path | None = None) -> dict[str, str]:
    """The environment of such a process. checkout: another revision of the project, whose holdfast runs instead.

    The benchmarks are always these: a revision may keep them elsewhere, or measure something else. Settings of the
    user are left out: they name databases, addresses, namespaces and collectors of the user.
    """
    inherited = {name: value for name, value in os.environ.items() if not _is_setting(name)}
    holdfast = [] if checkout is None else [checkout / "sdk", checkout / "coordinator"]
    paths = [*map(str, holdfast), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return inherited | {"PYTHONPATH": os.pathsep.join(paths)}


def forget_settings() -> None:
    """Takes the settings of the user out of the environment of this process too, before it makes clients."""
    for name in filter(_is_setting, list(os.environ)):
        del os.environ[name]


def _is_setting(variable: str) -> bool:
    return variable == COMPILES_ANEW or (variable.startswith(SETTINGS) and variable != POSTGRES_BIN)
