"""The example etl: four years of weather, from a CSV file into a database."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from examples.etl.flows import Month, load, monthly_weather
from holdfast.testing import run_local

SOURCE = Path(__file__).parents[2] / "examples" / "etl" / "seattle-weather.csv"
HEADER = "date,precipitation,temp_max,temp_min,wind,weather\n"


def rows(database: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("select * from months order by month").fetchall()


@pytest.mark.feature("F4", "F5")
async def test_every_day_of_the_file_is_in_one_month_of_the_database(tmp_path: Path) -> None:
    database = tmp_path / "weather.sqlite"
    run = await run_local(monthly_weather, str(SOURCE), str(database))
    assert run.value() == 48
    months = rows(database)
    lines = [line.split(",") for line in SOURCE.read_text().splitlines()[1:]]
    assert [month[0] for month in months] == sorted({line[0][:7].replace("/", "-") for line in lines})
    assert sum(int(str(month[1])) for month in months) == len(lines)
    december = [line for line in lines if line[0].startswith("2015/12")]
    rain = [float(line[1]) for line in december]
    assert months[-1][:4] == ("2015-12", 31, sum(one > 0 for one in rain), pytest.approx(sum(rain)))
    assert months[-1][5] == min(float(line[3]) for line in december)


@pytest.mark.feature("F65")
@pytest.mark.parametrize("line", ["2012/01/02,much,1,1,1,rain", "yesterday,1,1,1,1,rain", "2012/01/02"])
async def test_a_line_that_is_no_day_fails_at_once_and_is_named(tmp_path: Path, line: str) -> None:
    source, database = tmp_path / "wrong.csv", tmp_path / "weather.sqlite"
    source.write_text(f"{HEADER}2012/01/01,1,1,1,1,rain\n{line}\n")
    run = await run_local(monthly_weather, str(source), str(database))
    assert run.status == "failed"
    assert run.failure is not None
    assert run.failure.message.startswith(f"{source}, line 3: ")
    assert [type(entry).__name__ for entry in run.history].count("AttemptStarted") <= 1
    assert not database.exists()


def test_months_that_are_loaded_twice_are_there_once(tmp_path: Path) -> None:
    database = str(tmp_path / "weather.sqlite")
    for mean_high in (1.0, 2.0):
        load.function([Month("2012-01", 31, 3, 10.0, mean_high, -1.0)], database)
    assert rows(Path(database)) == [("2012-01", 31, 3, 10.0, 2.0, -1.0)]
