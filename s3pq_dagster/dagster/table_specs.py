"""The specs of a source's tables, and of what they are loaded from."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import dagster as dg

from s3pq_dagster.dagster.column_schemas import key_types
from s3pq_dagster.dagster.io_manager import S3ParquetIOManager
from s3pq_dagster.dagster.metadata import COLLISION, PREFIX, SOURCE_ASSET, SOURCE_TAG, TABLE
from s3pq_dagster.dagster.names import named
from s3pq_dagster.dagster.partitions import partitions_of_table
from s3pq_dagster.dagster.resource import S3ParquetResource, value_by_now
from s3pq_dagster.dagster.saved_tables import DiscoveredTable
from s3pq_dagster.dagster.translator import S3ParquetTableProps, S3ParquetTranslator
from s3pq_dagster.layout.template import read_template
from s3pq_dagster.source.table_names import bare_name

GroupBy = Literal["bucket", "first_segment"]
"""Which group a table's asset is in."""
_MOST_OF_TAG = 63
"""Characters that Dagster lets a tag's value have."""


@dataclass(frozen=True)
class TableSpecs:
    """Describes tables as assets, with what ops, sensor and IO manager need of them."""

    source: S3ParquetResource
    destination: S3ParquetIOManager
    translator: S3ParquetTranslator
    instance: str | None = None
    """The source's name, where there are several in a code location."""
    group_by: GroupBy = "bucket"
    has_source_assets: bool = False
    """Whether a table's asset depends on an external one, of what it is loaded from."""

    def of(self, table: DiscoveredTable) -> dg.AssetSpec:
        """Describe a table."""
        # Ops, sensor and IO manager need these, even if the translator left them out.
        needed: dict[str, Any] = {TABLE: table.name, PREFIX: table.prefix}
        if table.collision is not None:
            name, prefixes = table.collision
            needed[COLLISION] = {"table": name, "prefixes": prefixes}
        tag = named(table.bucket, self.instance)
        tags = {SOURCE_TAG: tag} if len(tag) <= _MOST_OF_TAG else {}
        spec = self.translator.get_asset_spec(self._props(table))
        defined, about = partitions_of_table(table, self.source.key_layout)
        spec = spec.replace_attributes(partitions_def=defined)
        spec = spec.merge_attributes(metadata=needed | about, tags=tags)
        if not self.has_source_assets:
            return spec
        upstream = self.translator.get_source_asset_spec(self._props(table)).key
        known = {SOURCE_ASSET: dg.MetadataValue.asset(upstream)}
        return spec.merge_attributes(deps=[upstream], metadata=known)

    def source_assets(
        self, tables: Iterable[DiscoveredTable], specs: Iterable[dg.AssetSpec]
    ) -> list[dg.AssetsDefinition]:
        """Define an external asset for what each table is loaded from, in the table's group.

        Args:
            tables: The tables.
            specs: What :meth:`of` returned for each of them.
        """
        if not self.has_source_assets:
            return []
        return [
            dg.AssetsDefinition(specs=[self._upstream(table, spec)])
            for table, spec in zip(tables, specs, strict=True)
        ]

    def _upstream(self, table: DiscoveredTable, spec: dg.AssetSpec) -> dg.AssetSpec:
        found = self.translator.get_source_asset_spec(self._props(table))
        found = found.merge_attributes(metadata={PREFIX: table.prefix})
        return found.replace_attributes(group_name=found.group_name or spec.group_name)

    def _props(self, table: DiscoveredTable) -> S3ParquetTableProps:
        source, destination = self.source, self.destination
        return S3ParquetTableProps(
            table=table,
            storage_kind=destination.storage_kind(),
            table_name=destination.table_name(table.name),
            add_cq_ids=source.add_cq_ids,
            schema_mode=source.for_table(table.prefix).schema_mode,
            key_columns=key_types(source.key_layout, table.schema_key),
            group=self._group(table),
        )

    def _group(self, table: DiscoveredTable) -> str:
        segment = ""
        if self.group_by == "first_segment":
            segment = first_segment(table.prefix, below=self._folder)
        return segment or re.sub(r"\W", "_", table.bucket)

    @cached_property
    def _folder(self) -> str:
        """The folder that is listed, as far as ``path_prefix`` names whole segments."""
        text = value_by_now(self.source.path_prefix)
        return text[: text.rfind("/") + 1]


def first_segment(pattern: str, *, below: str) -> str:
    """Return what the folders of several tables begin with, as a name.

    Args:
        pattern: The pattern of a table's keys.
        below: The folder in which the segment is looked for.

    Returns:
        The first segment; empty where it is the table's own folder, or leaves no character.
    """
    literal = read_template(pattern).prefix.removeprefix(below)
    segment, slash, rest = literal.partition("/")
    return bare_name(segment + slash) if rest else ""
