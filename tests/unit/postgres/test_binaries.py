"""Which Postgres installation is taken, from which source."""

import sys
from pathlib import Path

import pytest

from holdfast_coordinator.postgres import binaries
from holdfast_coordinator.postgres.binaries import Installation
from holdfast_coordinator.postgres.errors import DataDirectoryVersion, PostgresNotFound


def make_installation(directory: Path, version: str, *, initdb: bool = True) -> Path:
    directory.mkdir(parents=True)
    for program in ["postgres", "initdb"] if initdb else ["postgres"]:
        (directory / program).write_text(f"#!/bin/sh\necho '{program} (PostgreSQL) {version} (Distribution)'\n")
        (directory / program).chmod(0o755)
    return directory


@pytest.mark.parametrize(("version", "major"), [("18.4", 18), ("16.14", 16), ("19beta1", 19)])
def test_the_version_is_asked_of_the_program(tmp_path: Path, version: str, major: int) -> None:
    found = binaries.inspect(make_installation(tmp_path / "bin", version), "given")
    assert found is not None
    assert (found.version, found.major) == (version, major)


def test_a_directory_without_initdb_is_no_installation(tmp_path: Path) -> None:
    assert binaries.inspect(make_installation(tmp_path / "bin", "18.4", initdb=False), "given") is None


def test_postgres_13_is_too_old(tmp_path: Path) -> None:
    assert binaries.inspect(make_installation(tmp_path / "bin", "13.9"), "given") is None


def test_a_program_for_another_machine_is_no_installation(tmp_path: Path) -> None:
    directory = make_installation(tmp_path / "bin", "18.4")
    (directory / "postgres").write_bytes(b"\x7fELF not for here")
    assert binaries.inspect(directory, "given") is None


def test_a_given_directory_is_the_only_one_that_is_considered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = make_installation(tmp_path / "bin", "15.1")
    monkeypatch.setenv("HOLDFAST_POSTGRES_BIN", str(given))
    assert binaries.find_installations() == [Installation(given, "15.1", "given")]


def test_a_given_directory_without_postgres_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_POSTGRES_BIN", str(tmp_path))
    with pytest.raises(PostgresNotFound, match=str(tmp_path)):
        binaries.find_installations()


def test_programs_on_the_path_are_followed_to_the_directory_that_has_initdb(tmp_path: Path) -> None:
    real = make_installation(tmp_path / "99" / "bin", "99.1")
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "postgres").symlink_to(real / "postgres")
    assert binaries.system_installations(str(linked))[0] == Installation(real, "99.1", "system")


def test_the_newest_of_the_system_comes_first(tmp_path: Path) -> None:
    old, new = (make_installation(tmp_path / version, version) for version in ("98.10", "98.9"))
    found = binaries.system_installations(f"{new}:{old}")
    assert [one.version for one in found[:2]] == ["98.10", "98.9"]


def test_finding_the_wheel_does_not_import_it() -> None:
    sys.modules.pop(binaries.WHEEL_PACKAGE, None)
    majors = [one.major for one in binaries.wheel_installations()]
    assert binaries.WHEEL_PACKAGE not in sys.modules
    assert majors == sorted(majors, reverse=True)


def test_existing_data_gets_the_binaries_of_its_version() -> None:
    found = [Installation(Path("/a"), "18.4", "system"), Installation(Path("/b"), "16.14", "wheel")]
    assert binaries.choose(found, major="16", data=Path("/d")).version == "16.14"
    assert binaries.choose(found, major=None, data=Path("/d")).version == "18.4"


def test_data_of_a_version_that_is_not_there_is_an_error_that_names_both_versions() -> None:
    found = [Installation(Path("/a"), "18.4", "system")]
    with pytest.raises(DataDirectoryVersion, match=r"made by Postgres 12.*only Postgres 18\.4"):
        binaries.choose(found, major="12", data=Path("/d"))
