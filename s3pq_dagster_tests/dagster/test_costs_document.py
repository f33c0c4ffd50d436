"""The figures of `docs/costs.md`: its arithmetic, and the requests that it begins with."""

import re
from itertools import product

import pytest

from s3pq_dagster.cli.prices import Prices
from s3pq_dagster_tests.lake import Lake
from s3pq_dagster_tests.pages import DOCS
from s3pq_dagster_tests.test_docs import table_after

PAGE = (DOCS / "costs.md").read_text("utf-8")
KEYS_A_PAGE, MONTH = 1000, 30 * 86_400
LIST, GET = (float(price) / 1000 for price in re.findall(r"At \$([\d.]+) per 1,000", PAGE))
PRICES = Prices()
INTERVALS = (60, 300, 3600, 86_400)
MIB = 1024 * 1024


def number(text: str) -> float:
    """Read a number or a price."""
    return float(text.replace(",", "").replace("$", ""))


def rows(heading: str) -> list[list[float]]:
    """Return the numbers of the first table behind a heading."""
    return [[number(cell) for cell in row] for row in table_after(PAGE, heading)]


def test_prices_are_those_of_the_command_line() -> None:
    """`s3pq plan` and the page count alike."""
    assert (PRICES.list / 1000, PRICES.get / 1000) == (LIST, GET)


def test_a_month_of_looking_is_what_the_page_says() -> None:
    """Requests of a listing times listings of a month times the price."""
    for objects, pages, *dollars in rows("## A month of looking"):
        assert pages == objects / KEYS_A_PAGE
        assert dollars == [round(MONTH / each * pages * LIST, 2) for each in INTERVALS]


def test_reading_objects_is_what_the_page_says() -> None:
    """A request for each 8 MiB of an object."""
    for objects, small, large in rows("## Reading objects"):
        assert (small, large) == (round(objects * GET, 2), round(objects * 10 * GET, 2))


@pytest.mark.thorough
def test_looks_runs_and_loads_take_the_requests_of_the_page(lake: Lake) -> None:
    """A look and a run list the bucket once; each new object is one GET."""
    lake.bucket.proxy.page_size = 5
    for table, number in product("ab", range(8)):
        lake.bucket.put(f"{table}/{number}.parquet", 1)
    definitions = lake.definitions()
    for do, read in ((lake.tick, 0), (lake.run, 16), (lake.tick, 0), (lake.run, 0)):
        lake.bucket.proxy.forget()
        do(definitions=definitions)
        assert 4 <= len(lake.bucket.proxy.listings) <= 4 + 2
        assert len(lake.bucket.proxy.object_reads) == read
