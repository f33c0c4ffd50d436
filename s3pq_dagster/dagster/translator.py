"""How a discovered table is described as an asset."""

import re
from dataclasses import dataclass, field

import dagster as dg
import pyarrow as pa

from s3pq_dagster.dagster.column_schemas import KeyTypes, column_schema
from s3pq_dagster.dagster.metadata import (
    COLUMN_SCHEMA,
    OBJECTS_LISTED,
    PREFIX,
    TABLE,
    URI,
    table_metadata,
)
from s3pq_dagster.dagster.saved_tables import DiscoveredTable
from s3pq_dagster.drift.fitting import STRICT, start
from s3pq_dagster.errors import UnsupportedSchemaError, one_line
from s3pq_dagster.logs import counted, human_bytes
from s3pq_dagster.reading.added_columns import schema_with_added_columns

_WORD = "[A-Za-z0-9]"
_PLAIN = re.compile(rf"s3://(?:{_WORD}|[./={{}}-]|(?<={_WORD})_(?={_WORD})|\*(?!.*\*))*")
"""What Markdown leaves as it is: the catalog shows it as written, an asset's page renders it."""


@dataclass(frozen=True, slots=True)
class S3ParquetTableProps:
    """The facts that a translator may use."""

    table: DiscoveredTable
    storage_kind: str
    """The destination's kind, for which Dagster shows an icon."""
    table_name: str
    """The table's name in the destination, namespace included."""
    add_cq_ids: bool
    """Whether rows get ``_cq_id`` and ``_cq_parent_id``."""
    schema_mode: str = STRICT
    """What becomes of objects whose columns are not the table's."""
    key_columns: KeyTypes = field(default_factory=dict)
    """Name and type of each column that the layout makes of a key."""
    group: str | None = None
    """The group of the table's asset, as ``group_by`` asks for; ``None``: of its bucket's name."""


class S3ParquetTranslator:
    """Describes a table as an :class:`dagster.AssetSpec`; subclass it to change the description.

    .. code-block:: python

        class Raw(S3ParquetTranslator):
            def get_asset_spec(self, props):
                return super().get_asset_spec(props).replace_attributes(
                    key=["raw", props.table.name], tags={"tier": "bronze"}
                )
    """

    def get_asset_spec(self, props: S3ParquetTableProps) -> dg.AssetSpec:
        """Describe a table.

        Returns:
            A spec with key ``[bucket, table]``, the bucket as group unless ``group_by`` says
            otherwise, and kinds ``s3``, ``parquet`` and the destination's.
        """
        table = props.table
        return dg.AssetSpec(
            key=[table.bucket, table.name],
            group_name=props.group or re.sub(r"\W", "_", table.bucket),
            kinds={"s3", "parquet", props.storage_kind},
            description=_described(table),
            metadata={
                **table_metadata(
                    source=table.uri,
                    storage_kind=props.storage_kind,
                    table_name=props.table_name,
                    schema=_stored_schema(props),
                    of_key=props.key_columns,
                ),
                TABLE: table.name,
                PREFIX: table.prefix,
                OBJECTS_LISTED: table.objects,
            },
        )

    def get_source_asset_spec(self, props: S3ParquetTableProps) -> dg.AssetSpec:
        """Describe what a table is loaded from, as an external asset (``source_assets``).

        Returns:
            A spec with key ``["s3", bucket, table]``, kinds ``s3`` and ``parquet``, and the files'
            columns. Without a group it gets that of the table.
        """
        table = props.table
        columns = None if table.schema is None else column_schema(table.schema, props.key_columns)
        return dg.AssetSpec(
            key=["s3", table.bucket, table.name],
            kinds={"s3", "parquet"},
            description=_described(table),
            metadata={
                URI: table.uri,
                OBJECTS_LISTED: table.objects,
                **({} if columns is None else {COLUMN_SCHEMA: columns}),
            },
        )


def _described(table: DiscoveredTable) -> str:
    """Describe a table, as the bucket was last listed, in the one line that the catalog shows."""
    objects = counted(table.objects, "object")
    where = table.uri if _PLAIN.fullmatch(table.uri) else _code(table.uri)
    return f"{objects}, {human_bytes(table.bytes)} in {where}"


def _possibly_null(schema: pa.Schema, mode: str) -> pa.Schema:
    """Return a schema in which every column may be null, if objects may lack columns."""
    return schema if mode == STRICT else pa.schema([each.with_nullable(True) for each in schema])  # noqa: FBT003 - pyarrow's


def _code(text: str) -> str:
    """Write text as one Markdown code span, whatever is in it (CommonMark 0.31, section 6.1)."""
    shown = one_line(text)
    if "`" not in shown:
        return f"`{shown}`"
    fence = "`" * (max(map(len, re.findall("`+", shown))) + 1)
    return f"{fence} {shown} {fence}"


def _stored_schema(props: S3ParquetTableProps) -> pa.Schema | None:
    table = props.table
    if table.schema is None or table.schema_key is None:
        return None
    try:
        added = schema_with_added_columns(
            table.schema, table.schema_key, add_cq_ids=props.add_cq_ids, mode=props.schema_mode
        )
        return _possibly_null(start(added, props.schema_mode), props.schema_mode)
    except UnsupportedSchemaError:
        return table.schema  # the run fails with the reason
