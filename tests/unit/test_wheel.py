"""What is in the wheel, and so on the machine of everybody who installs holdfast."""

from pathlib import Path, PurePosixPath

from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"holdfast": "sdk", "holdfast_coordinator": "coordinator"}
PYTEST_PLUGIN = "holdfast_pytest.py"
"""Beside the package, so that pytest can import it in every run without the package."""
OF_DEVELOPERS = {"bench", "benchmarks", "tests", "examples"}


def _paths() -> list[PurePosixPath]:
    return [PurePosixPath(file.distribution_path) for file in WheelBuilder(str(ROOT)).recurse_included_files()]


def test_the_wheel_holds_the_sdk_and_the_coordinator_and_nothing_for_developers_alone() -> None:
    paths = _paths()
    assert {path.parts[0] for path in paths} == {*PACKAGES, PYTEST_PLUGIN}
    assert [path for path in paths if OF_DEVELOPERS & set(path.parts) or path.name.startswith("test_")] == []


def test_the_wheel_holds_every_module_of_its_packages() -> None:
    paths = {str(path) for path in _paths()}
    for package, folder in PACKAGES.items():
        source = ROOT / folder
        modules = {path.relative_to(source).as_posix() for path in (source / package).rglob("*.py")}
        assert modules <= paths
