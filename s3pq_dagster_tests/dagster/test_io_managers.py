"""What downstream assets receive, and which values an IO manager refuses."""

from collections.abc import Callable
from typing import Any

import dagster as dg
import polars as pl
import pyarrow as pa
import pytest

from s3pq_dagster import S3ParquetDuckDBIOManager
from s3pq_dagster.dagster.io_managers import build_io_manager
from s3pq_dagster.errors import UnsupportedValueError
from s3pq_dagster_tests.buckets import numbers
from s3pq_dagster_tests.dagster.test_user_stories import failure
from s3pq_dagster_tests.lake import Lake


def downstream(lake: Lake, annotation: Any, columns: list[str] | None = None) -> Callable[[], Any]:
    """Make a lake with an asset downstream of table a; calling it returns that asset's input."""
    lake.bucket.put("a/1.parquet", numbers(3))
    lake.bucket.put("a/2.parquet", numbers(2, start=3))
    got: list[Any] = []
    metadata = {"columns": columns} if columns else None

    def body(table: Any) -> None:
        read = table.read_all() if isinstance(table, pa.RecordBatchReader) else table
        got.extend([type(table), read])

    body.__annotations__ = {"return": None} | ({"table": annotation} if annotation else {})
    key = dg.AssetKey([lake.bucket.name, "a"])
    child = dg.asset(name="child", ins={"table": dg.AssetIn(key, metadata=metadata)})(body)

    def run() -> Any:
        definitions = dg.Definitions.merge(lake.definitions(), dg.Definitions([child]))
        job = definitions.resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(instance=lake.instance, raise_on_error=False)
        assert result.success, failure(result, "child")
        return got

    return run


@pytest.mark.first_case
@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (None, pa.Table),
        (pa.Table, pa.Table),
        (pa.RecordBatchReader, pa.RecordBatchReader),
        (pl.DataFrame, pl.DataFrame),
        (pl.LazyFrame, pl.LazyFrame),
    ],
)
def test_an_input_is_given_as_it_is_annotated(lake: Lake, annotation: Any, kind: type) -> None:
    """An input has every row, as an Arrow table if it is not annotated."""
    got_kind, table = downstream(lake, annotation)()
    assert issubclass(got_kind, kind)
    frame = table.collect() if isinstance(table, pl.LazyFrame) else pl.DataFrame(table)
    assert sorted(frame["id"].to_list()) == [0, 1, 2, 3, 4]
    assert frame.columns == ["id", "text", "_cq_id", "_cq_parent_id", "_s3_key"]


def test_only_selected_columns_are_read(lake: Lake) -> None:
    """Columns come in the order of the selection."""
    _, table = downstream(lake, pa.Table, ["text", "id"])()
    assert table.schema == pa.schema([("text", pa.string()), ("id", pa.int64())])


@pytest.mark.parametrize("columns", [[], "id", ["id", 1], {"id": 1}])
def test_a_selection_that_is_no_list_of_names_is_refused(lake: Lake, columns: Any) -> None:
    """A text or an empty list is refused as a selection."""
    context = dg.build_input_context(
        asset_key=dg.AssetKey([lake.bucket.name, "a"]),
        dagster_type=dg.PythonObjectDagsterType(pa.Table),
        definition_metadata={"columns": columns},
    )
    manager = S3ParquetDuckDBIOManager(database=str(lake.database))
    with pytest.raises(dg.Failure, match="must be a list of at least one column's name"):
        manager.load_input(context)


def test_another_annotation_is_refused_with_what_works(lake: Lake) -> None:
    """The error names the types that work."""
    with pytest.raises(AssertionError, match=r"polars\.LazyFrame; for pandas take"):
        downstream(lake, dict)()


def test_another_value_is_refused_with_what_to_use(lake: Lake) -> None:
    """The error names Dagster's own IO managers."""
    manager = S3ParquetDuckDBIOManager(database=str(lake.database))

    @dg.asset(io_manager_key="warehouse")
    def other() -> int:
        return 1

    with pytest.raises(dg.Failure, match=r"got int from 'other'.*dagster-duckdb-pandas") as caught:
        dg.materialize([other], resources={"warehouse": manager}, instance=lake.instance)
    assert caught.value.metadata["s3pq/error"].value == UnsupportedValueError.__name__
    assert not caught.value.allow_retries


def test_a_table_that_is_not_there_yet_is_an_error_that_says_so(lake: Lake) -> None:
    """A downstream asset runs before the table is materialized."""
    lake.bucket.put("a/1.parquet", 1)
    definitions = lake.definitions()
    manager = S3ParquetDuckDBIOManager(database=str(lake.database))
    context = dg.build_input_context(
        asset_key=dg.AssetKey([lake.bucket.name, "a"]),
        dagster_type=dg.PythonObjectDagsterType(pa.Table),
    )
    assert definitions
    with pytest.raises(Exception, match="materialize the table 'a' first"):
        manager.load_input(context)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("duckdb:///lake.duckdb", "duckdb"),
        ("postgresql://user@host/database", "postgres"),
        ("delta:///lake", "deltalake"),
        ("parquet:///lake", "parquet"),
    ],
)
def test_a_destination_has_a_kind(url: str, kind: str) -> None:
    """Dagster shows an icon by it."""
    assert build_io_manager(url).storage_kind() == kind


@pytest.mark.parametrize(
    ("destination", "place"),
    [
        ("duckdb:////data/lake.duckdb", "duckdb:///data/lake.duckdb#main"),
        ("postgresql://me:canary@h:5432/lake", "postgresql://h:5432/lake#public"),
        ("delta:////data/lake", "delta:///data/lake"),
        ("parquet+s3://lake/x/", "parquet+s3://lake/x"),
        (
            "delta+s3://lake/x?endpoint_url=http://h:1",
            "delta+s3://lake/x?endpoint_url=http://h:1",
        ),
    ],
)
def test_a_place_is_named_without_secrets(
    destination: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place is shown with each materialization."""
    monkeypatch.setenv("S3PQ_DESTINATION", destination)
    made = build_io_manager(dg.EnvVar("S3PQ_DESTINATION"))
    with made.process_config_and_initialize_cm() as opened:
        assert opened.place() == place
