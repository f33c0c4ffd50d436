"""Any text in keys and column names is loaded unchanged, or refused with a documented error."""

import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from s3pq_dagster.destinations.duckdb import DuckDBDestination
from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.errors import TableNameError, UnsupportedSchemaError
from s3pq_dagster.layout.template import escaped
from s3pq_dagster.loading.plan import LoadOptions, LoadPlan
from s3pq_dagster.loading.table_load import TableLoad
from s3pq_dagster.source.catalog import TableListing, group_by_prefix, tables_in
from s3pq_dagster.source.listing import list_prefix
from s3pq_dagster.source.store import Store
from s3pq_dagster.source.table_names import bare_name
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.examples import examples
from s3pq_dagster_tests.key_rules import is_parquet, prefix_of
from s3pq_dagster_tests.unit.made import listed, logger, opened, spec

PIECES = [
    *("'", '"', "; DROP TABLE t; --", "\\", "%", "$1", "?", ":n", "{}", "\x00", "\t", "\r", "\x9b"),
    *("\u00e9", "e\u0301", "\u202e", "\u200d", "\u212a", "k", "K", "..", ".", "/", "//", " ", "_"),
    *("_s3_key", "_S3_KEY", "_cq_id", "rowid", "ROWID", "select", "_temporary", "\U0001f600", "1"),
]
# moto refuses a newline in a key, and S3 any text that is not UTF-8.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=5)
NAME = st.lists(st.one_of(st.sampled_from(PIECES), TEXT), max_size=4).map("".join)
KEY = st.builds("{}/{}.parquet".format, NAME, NAME)
COLUMNS = st.lists(NAME, min_size=1, max_size=4)


def folded(name: str) -> str:
    """Make ASCII letters lower case, and no others."""
    return "".join(c.lower() if c.isascii() else c for c in name)


def is_refused(columns: list[str]) -> bool:
    """Return whether the documented rules refuse these column names."""
    names = [folded(name) for name in columns]
    return (
        len(set(names)) < len(names)
        or "_s3_key" in names
        or any(not name or "\x00" in name for name in names)
    )


def found_in(store: Store) -> list[TableListing] | None:
    """Discover the tables that load; ``None`` where a documented error stops that."""
    grouping = group_by_prefix(listed(store))
    names = [folded(bare_name(prefix)) for prefix in grouping.by_pattern]
    try:
        tables = tables_in(grouping, bucket="lake", tables=["*"], skip_tables=[])
    except TableNameError:
        assert "" in names
        return None
    assert all(bool(t.collision) == (names.count(folded(t.name)) > 1) for t in tables)
    return [table for table in tables if table.collision is None]


@settings(max_examples=examples(20), suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(keys={"a/\u00e9.parquet", "a/e\u0301.parquet", "b/\x00.parquet"}, columns=["a\nb", "k"])
@example(keys={"rowid/rowid.parquet", "../x/..y/1.parquet"}, columns=["rowid", "rowid ", "\u212a"])
@given(keys=st.sets(KEY, min_size=1, max_size=4), columns=COLUMNS)
def test_any_name_comes_back_or_is_refused(
    bucket: Bucket, keys: set[str], columns: list[str]
) -> None:
    """Keys, columns and fields are the same in the destination as in S3, or none is there."""
    refused = is_refused(columns)
    table = pa.table([value(columns, number) for number in range(len(columns))], names=columns)
    if refused:  # for the columns alone: a struct of these fields is refused too
        table = pa.table([pa.array([1])] * len(columns), names=columns)
    for key in keys:
        bucket.put(key, table)
    try:
        with tempfile.TemporaryDirectory() as directory, opened(bucket) as store:
            assert {found.key for found in list_prefix(store, "")} == keys
            destination = DuckDBDestination(str(Path(directory) / "lake.duckdb"))
            for found in found_in(store) or ():
                load = load_of(store, bucket, found)
                if refused:
                    with pytest.raises(UnsupportedSchemaError, match="skip_tables"):
                        load.into(destination)
                    assert not destination.state(load.plan.owner).exists
                    continue
                load.into(destination)
                assert not load.plan.is_due(destination.state(load.plan.owner))
                here = {
                    key
                    for key in keys
                    if is_parquet(key) and escaped(prefix_of(key)) == found.pattern
                }
                with destination.read(found.name, [*columns, "_s3_key"]) as reader:
                    check(reader.read_all(), table, here)
    finally:
        for key in keys:
            bucket.delete(key)


def value(columns: list[str], number: int) -> pa.Array:
    """Make one struct whose fields have the columns' names."""
    fields = pa.struct([(name, pa.int64()) for name in columns])
    return pa.array([dict.fromkeys(columns, number)], fields)


def load_of(store: Store, bucket: Bucket, found: TableListing) -> TableLoad:
    """Make the load of a table."""
    return TableLoad(
        plan=LoadPlan(
            spec=spec(**bucket.spec, layout="prefix"),
            owner=Owner(found.name, bucket.name, found.pattern),
            listing=found.listing,
            options=LoadOptions(),
        ),
        store=store,
        log=logger(),
    )


def check(stored: pa.Table, table: pa.Table, keys: set[str]) -> None:
    """Check that columns and values are those of the objects, and each key is there once."""
    assert stored.column_names == [*table.column_names, "_s3_key"]
    assert sorted(stored["_s3_key"].to_pylist()) == sorted(keys)
    assert stored.drop_columns("_s3_key").to_pylist() == table.to_pylist() * len(keys)
