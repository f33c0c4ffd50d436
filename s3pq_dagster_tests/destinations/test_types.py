"""``docs/types.md`` says how each destination stores a column of each Arrow type.

``python -m s3pq_dagster_tests.destinations.test_types`` writes the tables in it.
"""

import re
import sys
import tempfile
from collections import deque
from pathlib import Path

import pyarrow as pa
import pytest

from s3pq_dagster.decoding.checked_batch import RefusedValueError
from s3pq_dagster.decoding.parquet_file import decode, open_file
from s3pq_dagster.errors import UnsupportedSchemaError, one_line
from s3pq_dagster_tests.destinations.columns import COLUMNS
from s3pq_dagster_tests.destinations.logical_columns import LOGICAL
from s3pq_dagster_tests.destinations.places import PLACES, Place
from s3pq_dagster_tests.destinations.tables import OWNER, loaded, sealed, stream
from s3pq_dagster_tests.levels import first_of
from s3pq_dagster_tests.malformed.annotated import annotated
from s3pq_dagster_tests.unit.made import meta

DOCUMENT = Path(__file__).parents[2] / "docs" / "types.md"
_MARK = "<!-- generated from here on -->\n"
_LOGICAL_MARK = "<!-- logical types, generated -->\n"
_SCHEMA_REASON = re.compile(r"has type .*?, (?P<reason>(?:which|whose|with) .*?)(?:;|\. Rename)")
_VALUE_REASON = re.compile(r"cannot hold unchanged as (?P<kind>.*?): ")


def becomes(place: Place, column: pa.Array) -> str:
    """Return the type a column is stored as in a place, or why it is refused."""
    found = meta("orders/a", "v1")
    keys = pa.array([found.key] * len(column))
    rows = pa.record_batch([column, keys], names=["c", "_s3_key"])
    try:
        with place.open().write(OWNER, run_id="run", append=False, refresh=True) as writer:
            writer.commit(
                stream(rows), schema_key=found.key, seal=lambda: sealed(loaded(found, len(column)))
            )
    except UnsupportedSchemaError as error:
        return _refused(str(error))
    return f"`{place.stored_type(OWNER.table, 'c')}`"


def _refused(said: str) -> str:
    if reason := _SCHEMA_REASON.search(said):
        return f"refused: a type {reason['reason']}"
    if value := _VALUE_REASON.search(said):
        return f"refused: such values are not held unchanged as `{value['kind']}`"
    return "refused: " + said.partition("unchanged: ")[2].partition(". Rename")[0]


def table(kind: str) -> dict[str, str]:
    """Return, for every Arrow type, what becomes of it in one destination."""
    with tempfile.TemporaryDirectory() as directory:
        place = PLACES[kind](Path(directory))
        try:
            return {name: becomes(place, column) for name, column in COLUMNS.items()}
        finally:
            place.discard()


def rendered(tables: dict[str, dict[str, str]]) -> str:
    """Render the Markdown table of types."""
    lines = [f"| Arrow type | {' | '.join(tables)} |", "|---|" + "---|" * len(tables)]
    for name in COLUMNS:
        cells = (one_line(column[name]).replace("|", "\\|") for column in tables.values())
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def logical_table() -> str:
    """Return the Markdown table of the Arrow types that logical types are read as."""
    lines = ["| Parquet type | Arrow type |", "|---|---|"]
    for name, (column, _) in LOGICAL.items():
        try:
            file = open_file(pa.BufferReader(annotated(column)))
            deque(decode(file, 1), 0)
            kind = file.canonical_schema.field("c").type
        except RefusedValueError as error:
            lines.append(f"| {name} | its object is quarantined: {error} |")
        else:
            lines.append(f"| {name} | `{kind}` |")
    return "\n".join(lines) + "\n"


def test_the_document_says_what_each_logical_type_is_read_as() -> None:
    """The document has the table as it is made now."""
    text = DOCUMENT.read_text("utf-8").partition(_LOGICAL_MARK)[2]
    assert text.startswith(logical_table() + "\n")


def documented() -> dict[str, dict[str, str]]:
    """Parse the table in the document."""
    head, _, *lines = DOCUMENT.read_text("utf-8").partition(_MARK)[2].strip().splitlines()
    kinds = [cell.strip() for cell in head.strip("|").split("|")][1:]
    found: dict[str, dict[str, str]] = {kind: {} for kind in kinds}
    for line in lines:
        name, *cells = (cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|")))
        for kind, cell in zip(kinds, cells, strict=True):
            found[kind][name] = cell.replace("\\|", "|")
    return found


@pytest.mark.thorough
@pytest.mark.parametrize("kind", first_of(PLACES, keep=2, others=pytest.mark.nightly))
def test_the_document_says_what_becomes_of_each_type(kind: str) -> None:
    """The document has the right cell for every type in every destination."""
    said = documented()
    assert list(said) == list(PLACES)
    assert {name: one_line(cell) for name, cell in table(kind).items()} == said[kind]


if __name__ == "__main__":
    text = DOCUMENT.read_text("utf-8").partition(_MARK)[0]
    head, _, rest = text.partition(_LOGICAL_MARK)
    text = head + _LOGICAL_MARK + logical_table() + "\n" + rest.partition("\n\n")[2]
    DOCUMENT.write_text(text + _MARK + rendered({kind: table(kind) for kind in PLACES}), "utf-8")
    sys.exit()
