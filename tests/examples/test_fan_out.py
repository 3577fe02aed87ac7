"""The example fan_out: thousands of steps in one run, and thousands of runs."""

import re
from pathlib import Path

import pytest

from examples import fan_out

FILES = 1_500


@pytest.mark.feature("F37", "F148")
async def test_each_of_many_files_is_counted_once_however_often_it_is_started(
    open_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / f"file_{number}.py" for number in range(FILES)]
    for number, file in enumerate(files):
        file.write_text("pass\n" * (number % 3))
    lines = sum(number % 3 for number in range(FILES))

    for _ in range(2):
        await fan_out.main(str(open_directory / "data"), [str(tmp_path)], at_most=FILES)
        found = re.findall(r"([\d,]+) lines in ([\d,]+) files", capsys.readouterr().out)
        assert found == [(f"{lines:,}", f"{FILES:,}")] * 2
        for file in files:
            file.write_text("pass\n" * 9)  # counted again it would be more


def test_files_whose_paths_make_no_id_are_left_out(tmp_path: Path) -> None:
    short, long = tmp_path / "a.py", tmp_path / f"{'b' * 190}.py"
    for path in (short, long):
        path.touch()
    assert fan_out.python_files.function([str(tmp_path), str(tmp_path)], 10) == [str(short)]
