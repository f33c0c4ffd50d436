"""Components that change what the package's own one does."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from s3pq_dagster import S3ParquetComponent, S3ParquetTableProps, TableRun


class Described(S3ParquetComponent):
    """Says in an asset's tags and metadata that it was here."""

    def get_asset_spec(self, props: S3ParquetTableProps) -> dg.AssetSpec:
        """Describe a table."""
        return (
            super()
            .get_asset_spec(props)
            .replace_attributes(key=["own", props.table.name], owners=["team:own"])
            .merge_attributes(tags={"first": "get_asset_spec", "second": "get_asset_spec"})
        )


class Watched(S3ParquetComponent):
    """Logs before and after a table."""

    def execute(
        self, context: dg.AssetExecutionContext | dg.OpExecutionContext, table: TableRun
    ) -> Iterator[Any]:
        """Load and check a table, between two lines."""
        context.log.info("before %s", table.spec.key.path[-1])
        yield from super().execute(context, table)
        context.log.info("after %s", table.spec.key.path[-1])
