"""Makes of deploy/Dockerfile, without a container engine, the directories that its images would hold.

The RUN instructions run as they are written, but for their paths, the base image (here: this Python), and the index:
dependencies are linked from the environment of the tests, and only those that the wheel itself asks for.
"""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import Parser
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from .chart import DEPLOY
from .dockerfile import Instruction, Stage, read_stages

ENVIRONMENT = "/opt/holdfast"
WHEELS = "/wheels"
OURS = "holdfast"


@dataclass(frozen=True, slots=True)
class Image:
    """What an image holds. root: stands for `/`, with the environment and the working directory in it."""

    stage: Stage
    root: Path

    @property
    def workdir(self) -> Path:
        """Where its commands run."""
        return self.root / self.stage.last("WORKDIR").text.lstrip("/")

    @property
    def variables(self) -> dict[str, str]:
        """What ENV sets; PATH with the paths as they are here."""
        found = dict(word.split("=", 1) for one in self.stage.those("ENV") for word in one.text.split())
        path = found["PATH"].replace(ENVIRONMENT, f"{self.root}{ENVIRONMENT}")
        return {**found, "PATH": path.replace("${PATH}", os.environ["PATH"])}


def build(folder: Path) -> dict[str, Image]:
    """Makes the images `server` and `worker` below a folder."""
    stages = read_stages()
    source = folder / "source"
    for one in stages["build"].those("COPY"):
        *copied, target = one.operands
        for name in copied:
            _copy(DEPLOY.parent / name, source / target / ("" if target != "./" else name))
    for one in stages["build"].those("RUN"):
        if ENVIRONMENT not in one.text:
            _run(one, folder, folder)
    (wheel,) = (folder / "wheels").glob("*.whl")
    images = {}
    for target in ("server", "worker"):
        root = folder / target
        stage = stages[f"{target}-environment"]
        for one in stage.those("RUN"):
            if ENVIRONMENT in one.text:
                if one in stage.own:
                    _link(root, set(_needed(wheel, one.text)))
                _run(one, folder, root)
        images[target] = Image(stages[target], root)
        images[target].workdir.mkdir()
    return images


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def _run(instruction: Instruction, folder: Path, root: Path) -> None:
    # What the tests run with is what constraints.txt was made from; without an index it cannot be anything else.
    text = re.sub(r"--constraint \S+ ", "", instruction.text)
    text = text.replace(ENVIRONMENT, f"{root}{ENVIRONMENT}").replace(WHEELS, f"{folder}{WHEELS}")
    variables = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    ran = subprocess.run(
        ["/bin/sh", "-c", text], cwd=folder / "source", env=variables, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, f"{text}\n{ran.stdout}\n{ran.stderr}"


def _needed(wheel: Path, text: str) -> Iterator[str]:
    """The distributions that a `pip install` of the wheel installs, by the wheel's own metadata."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    extras = set(re.findall(r"\.whl\)\[(\w+)\]", text))
    waiting = [Requirement(one) for one in metadata.get_all("Requires-Dist", []) if _applies(one, extras)]
    waiting += [Requirement(one) for one in re.findall(r'"\s+([a-z-]+)$', text)]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        wanted = waiting.pop()
        key = (canonicalize_name(wanted.name), frozenset(wanted.extras))
        if key not in seen:
            seen.add(key)
            yield key[0]
            asked = distribution(wanted.name).requires or []
            waiting += [Requirement(one) for one in asked if _applies(one, set(wanted.extras))]


def _applies(requirement: str, extras: set[str]) -> bool:
    marker = Requirement(requirement).marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in (extras or {""}))


def _link(root: Path, names: set[str]) -> None:
    """Puts distributions of this environment into the one below root."""
    (site,) = Path(f"{root}{ENVIRONMENT}").glob("lib/python*/site-packages")
    assert OURS not in names
    for name in names:
        files = distribution(name).files or []
        for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(distribution(name).locate_file(top))  # type: ignore[arg-type]
