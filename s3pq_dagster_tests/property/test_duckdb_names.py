"""Any text as an identifier in DuckDB."""

from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3pq_dagster.destinations.duckdb.names import quoted
from s3pq_dagster.errors import UnsupportedSchemaError
from s3pq_dagster_tests.examples import examples

NAMES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1),
    st.lists(
        st.sampled_from(['"', "'", ";", "--", "\\", ".", " ", "a", "/*", "%", "\n"]), min_size=1
    ).map("".join),
    st.sampled_from(["select", "rowid", "main", "table", "NULL", "*"]),
)


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """Open one database in memory; each example makes its schema and rolls it back."""
    with duckdb.connect() as connection:
        yield connection


@settings(max_examples=examples(200))
@given(space=NAMES, table=NAMES, column=NAMES)
def test_a_quoted_name_is_that_name(
    connection: duckdb.DuckDBPyConnection, space: str, table: str, column: str
) -> None:
    """A schema, table and column of any name can be written, read and listed."""
    # The prefix avoids the names of DuckDB's own schemas.
    own = f"s {space}"
    where = f"{quoted(own)}.{quoted(table)}"
    connection.execute("BEGIN")
    try:
        connection.execute(f"CREATE SCHEMA {quoted(own)}")
        connection.execute(f"CREATE TABLE {where} ({quoted(column)} INTEGER)")
        connection.execute(f"INSERT INTO {where} VALUES (7)")
        assert connection.execute(f"SELECT {quoted(column)} FROM {where}").fetchall() == [(7,)]
        found = connection.execute(
            "SELECT schema_name, table_name, column_name FROM duckdb_columns() WHERE NOT internal"
        ).fetchall()
    finally:
        connection.execute("ROLLBACK")
    assert found == [(own, table, column)]


@given(st.text(), st.text())
def test_a_name_with_nul_is_refused(before: str, after: str) -> None:
    """DuckDB would cut a name at NUL."""
    with pytest.raises(UnsupportedSchemaError, match="NUL"):
        quoted(f"{before}\x00{after}")


def test_an_empty_name_is_refused() -> None:
    """DuckDB has no empty names."""
    with pytest.raises(UnsupportedSchemaError, match="empty"):
        quoted("")
