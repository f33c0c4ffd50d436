"""What every IO manager does: commit tables, and read them for the assets downstream."""

import logging
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import dagster as dg
import polars as pl
import pyarrow as pa

from s3pq_dagster.dagster.column_schemas import key_types
from s3pq_dagster.dagster.metadata import (
    COLUMN_SCHEMA,
    DESTINATION,
    SOURCE_ASSET,
    TABLE,
    report_metadata,
    table_metadata,
)
from s3pq_dagster.dagster.partition_rows import PartitionRows
from s3pq_dagster.dagster.retries import as_failures
from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster.errors import UnsupportedValueError
from s3pq_dagster.loading.plan import LoadPlan
from s3pq_dagster.loading.report import LoadReport
from s3pq_dagster.loading.table_load import TableLoad


class S3ParquetIOManager(dg.ConfigurableIOManager):
    """Commits what the assets of tables yield, and reads tables for the assets downstream.

    ``load_input`` returns the type that the input is annotated with: ``pyarrow.Table`` (the default
    without an annotation), ``pyarrow.RecordBatchReader``, ``polars.DataFrame`` or
    ``polars.LazyFrame``. If the input's metadata has ``columns``, only those are read. Where the
    input is of some of the table's partitions, it gets their rows.
    """

    @abstractmethod
    def destination(self, log: logging.Logger) -> Destination:
        """Return the destination, which logs to ``log``."""

    @abstractmethod
    def check_installed(self) -> None:
        """Check that the packages which the destination needs are installed.

        Raises:
            ConfigurationError: They are not; the message says what to install.
        """

    @abstractmethod
    def storage_kind(self) -> str:
        """Return the destination's kind, as Dagster names it."""

    @abstractmethod
    def table_name(self, table: str) -> str:
        """Return a table's name as its users write it, with namespace or directory."""

    @abstractmethod
    def place(self) -> str:
        """Name where the tables are, without secrets.

        All processes that use one destination get the same name. The sensor compares it, and does
        not count what was loaded into another place.
        """

    def table_options(self) -> dict[str, Any]:
        """Return those fields, without secrets, by which a table may load or fail.

        After a failure that trying again cannot mend, the sensor requests a run once they change.
        """
        return {}

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Load a table, checkpoint by checkpoint, and record its metadata."""
        if not isinstance(obj, TableLoad):
            msg = (
                f"{type(self).__name__} takes what build_s3_parquet_assets yields, got "
                f"{type(obj).__name__} from {context.asset_key.to_user_string()!r}. For other "
                f"values use one of Dagster's own IO managers (dagster-duckdb-pandas, "
                f"dagster-duckdb-polars, FilesystemIOManager) under another io_manager_key."
            )
            with as_failures():
                raise UnsupportedValueError(msg)
        with as_failures():
            report = self.load(obj, context.log)
        owner, known = obj.plan.owner, context.definition_metadata or {}
        context.add_output_metadata(
            {
                **self.described(
                    obj.plan,
                    schema=report.table_schema,
                    rows=report.table_rows,
                    known=known.get(COLUMN_SCHEMA),
                    source_asset=getattr(known.get(SOURCE_ASSET), "asset_key", None),
                ),
                **report_metadata(report, bucket=owner.bucket, table=owner.table),
            }
        )

    def load(self, load: TableLoad, log: logging.Logger) -> LoadReport:
        """Load a table, checkpoint by checkpoint.

        Raises:
            S3ParquetError: As :meth:`TableLoad.into` and :meth:`TableLoad.check_readable`.
        """
        report = load.into(self.destination(log))
        load.check_readable(report)
        return report

    def described(
        self,
        plan: LoadPlan,
        *,
        schema: pa.Schema | None = None,
        rows: int | None = None,
        known: object = None,
        source_asset: dg.AssetKey | None = None,
    ) -> dict[str, Any]:
        """Return the metadata that every event about a table has.

        Args:
            plan: The table.
            schema: Its columns, if they are to be shown.
            rows: The number of its rows, likewise.
            known: Its columns as they were shown before.
            source_asset: The asset of what it is loaded from, if there is one.
        """
        owner = plan.owner
        first = next(iter(plan.listing.frame["key"].head(1)), None)
        about = table_metadata(
            source=f"s3://{owner.bucket}/{owner.prefix}",
            storage_kind=self.storage_kind(),
            table_name=self.table_name(owner.table),
            schema=schema,
            of_key=key_types(plan.spec.key_layout, first),
            rows=rows,
            known=known,
            source_asset=source_asset,
        )
        return {**about, DESTINATION: self.place()}

    def load_input(self, context: dg.InputContext) -> Any:
        """Read a table, or its rows of some partitions, as the type the input is annotated with."""
        upstream = context.upstream_output
        known = {} if upstream is None else upstream.definition_metadata or {}
        table = known.get(TABLE, context.asset_key.path[-1])
        wanted = context.dagster_type.typing_type
        stack = ExitStack()
        with as_failures(), stack:
            columns = _columns(context)
            rows = PartitionRows.of(context, columns)
            destination = self.destination(context.log)
            if rows is None:
                reader = stack.enter_context(destination.read(table, columns))
            else:
                some = destination.read(table, rows.read_columns, rows.wanted)
                reader = rows.chosen(stack.enter_context(some))
            if wanted is pa.RecordBatchReader:
                held = stack.pop_all()
                return pa.RecordBatchReader.from_batches(reader.schema, _until_end(reader, held))
            return _converted(reader, wanted)


def _columns(context: dg.InputContext) -> list[str] | None:
    columns = (context.definition_metadata or {}).get("columns")
    if columns is None:
        return None
    named = isinstance(columns, list | tuple) and all(isinstance(name, str) for name in columns)
    if not named or not columns:
        msg = (
            f"the input's metadata `columns` must be a list of at least one column's name, got "
            f"{columns!r}. Leave it out to read all columns."
        )
        raise UnsupportedValueError(msg)
    return list(columns)


def _until_end(reader: pa.RecordBatchReader, held: ExitStack) -> Iterator[pa.RecordBatch]:
    with held:
        yield from reader


def _converted(reader: pa.RecordBatchReader, wanted: Any) -> Any:
    if wanted in (Any, pa.Table, type(None)):
        return reader.read_all()
    if wanted is pl.DataFrame:
        return pl.from_arrow(reader.read_all())
    if wanted is pl.LazyFrame:
        frame = pl.from_arrow(reader.read_all())
        assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a table gives a frame
        return frame.lazy()
    msg = (
        f"cannot give a table as {wanted}. Annotate the input as pyarrow.Table, "
        f"pyarrow.RecordBatchReader, polars.DataFrame or polars.LazyFrame; for pandas take a "
        f"pyarrow.Table and call to_pandas()."
    )
    raise UnsupportedValueError(msg)
