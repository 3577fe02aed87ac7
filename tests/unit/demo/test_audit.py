"""The audit's rules on small made distributions, and that the direct computation finds the same."""

import base64
import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from holdfast.testing import run_local
from holdfast_coordinator.demo import audit, direct
from holdfast_coordinator.demo.audit import Distribution, Findings, audit_distribution, audit_machine
from holdfast_coordinator.demo.report import differences

Install = Callable[..., Distribution]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Makes a distribution of some files. `record` stands for the truth, which has a line for RECORD itself too."""

    def installed(name: str, files: Mapping[str, bytes], *, record: Mapping[str, str] | None = None) -> Distribution:
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        for path, content in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(content)
        truth = {path: line(content) for path, content in files.items()} | {f"{info.name}/RECORD": ","}
        lines = truth if record is None else record
        (info / "RECORD").write_text("".join(f"{path},{said}\n" for path, said in lines.items()))
        return Distribution(info.stem, info)

    return installed


def line(content: bytes, *, algorithm: str = "sha256", size: int | str | None = None) -> str:
    digest = base64.urlsafe_b64encode(hashlib.new(algorithm, content).digest()).rstrip(b"=").decode()
    return f"{algorithm}={digest},{len(content) if size is None else size}"


async def audited(directory: Path, limit: int | None = None) -> Findings:
    """What the durable audit finds; fails when the direct computation finds anything else."""
    found = (await run_local(audit_machine, [directory], limit)).value()
    assert differences(found, direct.totals([directory], limit)) == []
    return found


RECORDS = [
    ("a file as recorded", {"a.py": line(b"x = 1\n")}, "verified"),
    ("a hash without a size", {"a.py": line(b"x = 1\n", size="")}, "verified"),
    ("another algorithm", {"a.py": line(b"x = 1\n", algorithm="sha512")}, "verified"),
    ("another content", {"a.py": line(b"x = 2\n")}, "mismatched"),
    ("another size", {"a.py": line(b"x = 1\n", size=7)}, "mismatched"),
    ("a hash that is none", {"a.py": "sha256=?,6"}, "mismatched"),
    ("a file that is not there", {"b.py": line(b"")}, "missing"),
    ("a directory", {"package": line(b"")}, "missing"),
    ("a compiled file", {"package/__pycache__/a.pyc": ","}, "unverifiable"),
    ("an unknown algorithm", {"a.py": "rot13=abc,6"}, "unverifiable"),
    ("a line with a path only", {"a.py": ""}, "unverifiable"),
]


@pytest.mark.parametrize(("record", "verdict"), [case[1:] for case in RECORDS], ids=[case[0] for case in RECORDS])
async def test_each_line_of_a_record_has_one_verdict(
    install: Install, tmp_path: Path, record: Mapping[str, str], verdict: str
) -> None:
    install("one", {"a.py": b"x = 1\n", "package/c.py": b""}, record=record)
    found = await audited(tmp_path)
    assert (found.files, getattr(found, verdict)) == (1, 1)


async def test_all_files_are_verified_however_they_are_divided(install: Install, tmp_path: Path) -> None:
    many = {f"package/m{number}.py": b"#" * number for number in range(3 * audit.CHUNK_FILES + 7)}
    distribution = install("many", many)
    run = await run_local(audit_distribution, distribution)
    found = run.value()
    assert (found.verified, found.unverifiable, found.bytes) == (len(many), 1, sum(range(len(many))))
    chunks = audit.plan_chunks.function(distribution)
    assert sum(chunk.count for chunk in chunks or ()) == len(many) + 1
    assert len(chunks or ()) == 4


async def test_a_distribution_without_a_record_is_counted_and_not_verified(tmp_path: Path) -> None:
    (tmp_path / "system-2.0.egg-info").write_text("Name: system\n")
    (tmp_path / "broken-1.0.dist-info").mkdir()
    (tmp_path / "broken-1.0.dist-info" / "RECORD").write_bytes(b"\xff\xfe,,\n")
    found = await audited(tmp_path)
    assert (found.distributions, found.unrecorded, found.files) == (2, 2, 0)


async def test_paths_outside_the_directory_are_those_of_scripts(install: Install, tmp_path: Path) -> None:
    files = {"bin/tool": b"#!python\n", "package/a.py": b""}
    install("tool", files, record={"package/../bin/tool": line(b"#!python\n")})
    assert (await audited(tmp_path)).verified == 1


async def test_a_pipe_in_place_of_a_file_does_not_block_the_audit(install: Install, tmp_path: Path) -> None:
    install("odd", {}, record={"pipe": line(b"")})
    os.mkfifo(tmp_path / "pipe")
    assert (await audited(tmp_path)).missing == 1


async def test_a_limit_takes_the_same_distributions_in_both_computations(install: Install, tmp_path: Path) -> None:
    for number, name in enumerate(("c", "a", "b")):
        install(name, {f"{name}.py": b"#" * number})
    assert (await audited(tmp_path, 2)).distributions == 2


async def test_problems_name_the_files(install: Install, tmp_path: Path) -> None:
    install("one", {"a.py": b"x"}, record={"a.py": line(b"y"), "b.py": line(b"")})
    assert (await audited(tmp_path)).problems == (f"differs: {tmp_path}/a.py", f"missing: {tmp_path}/b.py")


def test_a_difference_is_said_with_both_numbers() -> None:
    found = Findings(distributions=1, files=1_200, verified=1_199, mismatched=1)
    expected = direct.Counter({"distributions": 1, "files": 1_200, "verified": 1_200})
    assert differences(found, expected) == [
        "mismatched: 1 by the durable audit, 0 directly",
        "verified: 1,199 by the durable audit, 1,200 directly",
    ]
