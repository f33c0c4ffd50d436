"""The component: tables of a bucket as assets, described in YAML."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from dagster.components import DefsStateConfig
from dagster_shared.serdes.objects.models.defs_state_info import LOCAL_STATE_VERSION
from pydantic import PrivateAttr

from s3pq_dagster.dagster.component.access import s3_resource
from s3pq_dagster.dagster.component.attributes import (
    OpAttributes,
    S3ParquetAttributes,
    SensorAttributes,
)
from s3pq_dagster.dagster.component.claims import claims_of, maker_of
from s3pq_dagster.dagster.component.scaffolder import S3ParquetScaffolder
from s3pq_dagster.dagster.component.state import (
    has_state,
    read_state,
    refresh_of,
    shown,
    state_key,
    write_state,
)
from s3pq_dagster.dagster.discovery import LOGGER, is_looking
from s3pq_dagster.dagster.factory import build_s3_parquet_definitions
from s3pq_dagster.dagster.io_manager import S3ParquetIOManager
from s3pq_dagster.dagster.io_managers import build_io_manager
from s3pq_dagster.dagster.names import SOURCE_KEY, named
from s3pq_dagster.dagster.op_settings import load_and_check
from s3pq_dagster.dagster.resource import S3ParquetResource
from s3pq_dagster.dagster.saved_tables import DiscoveredTable
from s3pq_dagster.dagster.table_run import TableRun
from s3pq_dagster.dagster.translator import S3ParquetTableProps, S3ParquetTranslator
from s3pq_dagster.errors import S3ParquetError, StoreError
from s3pq_dagster.logs import line
from s3pq_dagster.spec import S3ParquetSpec


@dg.scaffold_with(S3ParquetScaffolder)
class S3ParquetComponent(S3ParquetAttributes, dg.StateBackedComponent, dg.Resolvable):
    """Loads every prefix of an S3 bucket that holds Parquet as an asset, each object's rows once.

    The tables are found by `dg utils refresh-defs-state`, and when `dg dev` starts. Runs and steps
    read what was found.
    """

    _is_starting: bool = PrivateAttr(default=False)
    """Whether the code location is being loaded, and nobody asks for a refresh alone."""
    _project_root: Path | None = PrivateAttr(default=None)
    """The project that it is part of, once it is loaded."""

    @property
    def defs_state_config(self) -> DefsStateConfig:
        """Where the tables are kept that discovery finds, and under which name."""
        key = state_key(type(self).__name__, self.name, self)
        return DefsStateConfig.from_args(self.defs_state, default_key=key)

    @property
    def source(self) -> S3ParquetResource:
        """The bucket, as a resource.

        Raises:
            ConfigurationError: The attribute `s3` cannot be used.
        """
        given = self.model_fields_set & S3ParquetSpec.model_fields.keys()
        fields = {name: getattr(self, name) for name in given}
        return S3ParquetResource(**fields, s3=s3_resource(self.s3))

    @property
    def io_manager(self) -> S3ParquetIOManager:
        """The destination, as a resource.

        Raises:
            ConfigurationError: Its URL is of no known kind.
        """
        given = self.destination
        return build_io_manager(given) if isinstance(given, str) else given

    def write_state_to_path(self, state_path: Path) -> None:
        """List the bucket and write its tables; see :func:`write_state`."""
        write_state(self.source, state_path)

    async def refresh_state(self, project_root: Path) -> str:
        """List the bucket anew; where a code location starts, the last state stands in for it.

        Raises:
            click.ClickException: The bucket cannot be listed; the last state stays as it is.
        """
        try:
            return await super().refresh_state(project_root)
        except StoreError as error:
            if self._is_starting and has_state(self.defs_state_config, project_root):
                log = dg.get_dagster_logger(LOGGER)
                log.warning(line("discovery_failed", using="the tables found last", reason=error))
                return LOCAL_STATE_VERSION
            raise shown(error) from error
        except S3ParquetError as error:
            raise shown(error) from error

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Build the definitions; where `dg dev` starts, the bucket is listed first.

        Raises:
            ConfigurationError: The destination or the name cannot be used; nothing is listed then.
        """
        named(SOURCE_KEY, self.name)
        if is_looking():  # at the resources: Dagster makes a folder where it looks for a state
            return self.build(self.source, [])
        self.io_manager.check_installed()
        self._is_starting = True
        try:
            return super().build_defs(context)
        finally:
            self._is_starting = False

    def build_defs_from_state(
        self, context: dg.ComponentLoadContext, state_path: Path | None
    ) -> dg.Definitions:
        """Build the definitions of the tables in the state, and list nothing.

        Raises:
            ConfigurationError: There is no state, or it is of other settings; the message says
                what to run. Or an attribute cannot be used.
        """
        self._project_root = context.project_root
        source = self.source
        tables = read_state(source, state_path)
        definitions = self.build(source, tables)
        maker = maker_of(context, f"s3://{source.bucket}/{source.path_prefix}")
        claims = claims_of(context)
        claims.add_name(maker, self.name)
        return claims.add_assets(maker, definitions)

    def build(self, source: S3ParquetResource, tables: Sequence[DiscoveredTable]) -> dg.Definitions:
        """Build the definitions of tables, as :func:`build_s3_parquet_definitions` does."""
        op, sensor = self.op or OpAttributes(), self.sensor or SensorAttributes()
        status, root = dg.DefaultSensorStatus, self._project_root
        return build_s3_parquet_definitions(
            source,
            destination=self.io_manager,
            name=self.name,
            tables=tables,
            granularity=self.granularity,
            shards=self.shards,
            checks=self.checks,
            translator=_Translator(self),
            retry_policy=self.retry_policy,
            pool=op.pool,
            op_tags=op.tags,
            execute=self.execute,
            executor=dg.in_process_executor if self.executor == "in_process" else None,
            has_sensor=self.sensor is not None,
            sensor_status=status.RUNNING if sensor.enabled else status.STOPPED,
            sensor_interval_seconds=sensor.interval_seconds,
            run_per_table=sensor.run_per_table,
            stale_run_seconds=sensor.stale_run_seconds,
            group_by=self.group_by,
            source_assets=self.source_assets,
            reload_for_new_tables=sensor.reload_for_new_tables,
            webserver_url=sensor.webserver_url,
            refresh_tables=None if root is None else refresh_of(self, root),
        )

    def get_asset_spec(self, props: S3ParquetTableProps) -> dg.AssetSpec:
        """Describe a table; override it to change the description.

        The attribute `translation` is applied to what it returns, and `post_processing` after it.
        """
        return S3ParquetTranslator().get_asset_spec(props)

    def get_source_asset_spec(self, props: S3ParquetTableProps) -> dg.AssetSpec:
        """Describe what a table is loaded from; override it to change the description.

        It is asked for with the attribute `source_assets`.
        """
        return S3ParquetTranslator().get_source_asset_spec(props)

    def execute(
        self, context: dg.AssetExecutionContext | dg.OpExecutionContext, table: TableRun
    ) -> Iterator[Any]:
        """Load and check one table in a run; override it to do something before or after.

        An override yields what ``super().execute(context, table)`` does. Of a table in shards it is
        the last step, which loads what the shards left.
        """
        yield from load_and_check(context, table)


@dataclass(frozen=True, slots=True)
class _Translator(S3ParquetTranslator):
    """What the component says of a table, then its attribute `translation`."""

    component: S3ParquetComponent

    def get_asset_spec(self, props: S3ParquetTableProps) -> dg.AssetSpec:
        """Describe a table."""
        spec = self.component.get_asset_spec(props)
        translate = self.component.translation
        return spec if translate is None else translate(spec, props)

    def get_source_asset_spec(self, props: S3ParquetTableProps) -> dg.AssetSpec:
        """Describe what a table is loaded from."""
        return self.component.get_source_asset_spec(props)
