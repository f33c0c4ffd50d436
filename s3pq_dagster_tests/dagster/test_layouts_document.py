"""Each layout of `docs/layouts.md` makes the tables, columns and rows that the page says."""

import re
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own

from s3pq_dagster.destinations.duckdb import DuckDBDestination
from s3pq_dagster.reading.added_columns import OUR_COLUMNS
from s3pq_dagster_tests.lake import Lake
from s3pq_dagster_tests.levels import first_of

PAGE = Path(__file__).parents[2] / "docs" / "layouts.md"


@dataclass(frozen=True, slots=True)
class Example:
    """A layout of the page, the keys it is tried on, and what it makes of them."""

    title: str
    keys: list[str]
    layout: object
    tables: dict[str, tuple[list[str], int]]

    def __str__(self) -> str:
        return self.title


def examples() -> list[Example]:
    """Find the layouts: the keys stand above one or two of them."""
    found: list[Example] = []
    for section in PAGE.read_text("utf-8").split("\n## ")[1:]:
        keys = re.search(r"^```text\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
        if keys is None:
            continue
        parts = re.split(r"^```yaml\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
        layouts = ["hive", *map(yaml.safe_load, parts[1::2])]
        for layout, text in zip(layouts, parts[::2], strict=True):
            rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (\d+) \|$", text, re.MULTILINE)
            tables = {name: (re.findall(r"`(.+?)`", columns), int(n)) for name, columns, n in rows}
            if tables:
                title = f"{section.splitlines()[0]} {len(found)}"
                found.append(Example(title, keys[1].split("\n")[:-1], layout, tables))
    return found


@pytest.mark.parametrize("example", first_of(examples(), keep=2), ids=str)
def test_a_layout_makes_what_the_page_says(example: Example, lake: Lake) -> None:
    """Its tables have the columns, beside ours, and the rows; no others are made."""
    for key in example.keys:
        lake.bucket.put(key, pa.table({"id": [1]}) if key.endswith(".parquet") else b"")
    assert lake.run(layout=example.layout).success
    made = {
        name: (_columns(lake, name), lake.rows(name))
        for name in lake.tables()
        if not name.startswith("_s3pq")
    }
    assert made == example.tables


def test_every_rule_of_the_page_is_run() -> None:
    """Each YAML block, and the default, belongs to an example."""
    blocks = PAGE.read_text("utf-8").count("```yaml")
    assert len(examples()) == blocks + 1


def _columns(lake: Lake, table: str) -> list[str]:
    with DuckDBDestination(str(lake.database)).read(table, None) as reader:
        schema = reader.schema
    own = [field for field in schema if field.name not in OUR_COLUMNS]
    plain = {"id": "int64"}
    return [
        field.name
        if str(field.type) == plain.get(field.name, "string")
        else f"{field.name}:{field.type}"
        for field in own
    ]
