"""Daily weather from a CSV file, as figures of each month in a database. See README.md.

holdfast dev examples.etl.flows
holdfast run monthly_weather --arg source=examples/etl/seattle-weather.csv --arg database=weather.sqlite
"""

import csv
import sqlite3
from contextlib import closing
from dataclasses import astuple, dataclass
from datetime import date, datetime
from itertools import groupby
from statistics import fmean

from holdfast import FatalError, exponential, pipeline, step


@dataclass
class Day:
    """Temperatures in degrees Celsius."""

    date: date
    rain_mm: float
    highest: float
    lowest: float


@dataclass
class Month:
    """month: "2012-01". rain_mm: of all its days together."""

    month: str
    days: int
    wet_days: int
    rain_mm: float
    mean_high: float
    lowest: float


def extract(source: str, database: str) -> tuple[list[Day], str]:
    """The days of a file, in its order. Asking again would not help a file that is wrong."""
    days: list[Day] = []
    with open(source, newline="", encoding="utf-8") as file:
        for row in (rows := csv.DictReader(file)):
            try:
                day = datetime.strptime(row["date"], "%Y/%m/%d").date()
                days.append(
                    Day(day, float(row["precipitation"]), float(row["temp_max"]), float(row["temp_min"])),
                )
            except (KeyError, TypeError, ValueError) as error:
                raise FatalError(f"{source}, line {rows.line_num}: {error}") from error
    return days, database


def transform(days: list[Day], database: str) -> tuple[list[Month], str]:
    """The figures of each month, the first one first."""
    months: list[Month] = []
    in_order = sorted(days, key=lambda day: day.date)
    for name, group in groupby(in_order, key=lambda day: f"{day.date:%Y-%m}"):
        of_month = list(group)
        months.append(
            Month(
                month=name,
                days=len(of_month),
                wet_days=sum(day.rain_mm > 0 for day in of_month),
                rain_mm=round(sum(day.rain_mm for day in of_month), 1),
                mean_high=round(fmean(day.highest for day in of_month), 1),
                lowest=min(day.lowest for day in of_month),
            )
        )
    return months, database


@step(retries=5, backoff=exponential(base=2, max=60), retry_on=sqlite3.OperationalError)
def load(months: list[Month], database: str) -> int:
    """Replaces the months in the database, all or none; returns how many. Done twice, it changes nothing."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "create table if not exists months (month text primary key, days integer, wet_days integer,"
            " rain_mm real, mean_high real, lowest real)"
        )
        connection.executemany("insert or replace into months values (?, ?, ?, ?, ?, ?)", map(astuple, months))
    return len(months)


monthly_weather = pipeline("monthly_weather", [extract, transform, load], id="monthly-weather-{source}")
