"""The tables that discovery has found, between two refreshes of the component's state."""

import asyncio
import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import click
import dagster as dg
from dagster.components import DefsStateConfig
from dagster.components.utils.project_paths import get_local_state_path
from dagster_shared.serdes.objects.models.defs_state_info import DefsStateManagementType

from s3pq_dagster.dagster.code_location import NotReloadedError
from s3pq_dagster.dagster.discovery import LOGGER, refresh, refreshed
from s3pq_dagster.dagster.resource import S3ParquetResource
from s3pq_dagster.dagster.saved_tables import DiscoveredTable
from s3pq_dagster.errors import ConfigurationError, S3ParquetError
from s3pq_dagster.spec import S3ParquetSpec

_PREFIX_CHARACTERS = 40
_PLAIN_PREFIX = re.compile(r"(?!.{41})(?!.*(__|_/|/_|//))[A-Za-z0-9._/-]*")
"""Short, and no two of them differ only in what becomes ``__``."""
_NEXT = "run `dg utils refresh-defs-state`, which lists the bucket and keeps what it finds"


def state_key(kind: str, name: str | None, source: S3ParquetSpec) -> str:
    """Name the state of a component after its bucket and prefix.

    Dagster makes a folder's name of it in which each character but a few becomes ``__``. Where this
    could give two prefixes one name, or a name that is too long, a hash is added.
    """
    prefix = source.path_prefix
    if not _PLAIN_PREFIX.fullmatch(prefix):
        digest = hashlib.sha256(prefix.encode(errors="surrogatepass")).hexdigest()[:16]
        prefix = f"{prefix[:_PREFIX_CHARACTERS]}#{digest}"
    return f"{kind}[{name + ':' if name else ''}{source.bucket}/{prefix}]"


def write_state(source: S3ParquetResource, path: Path) -> None:
    """List the bucket, and write its tables to the state; see :func:`refresh`.

    Everybody may read the state: who builds an image is often another user than who runs it.
    """
    refresh(source, path, dg.get_dagster_logger(LOGGER))
    path.chmod(0o644)


def has_state(config: DefsStateConfig, project_root: Path) -> bool:
    """Return whether there is a state beside the definitions of a project."""
    is_local = config.management_type is DefsStateManagementType.LOCAL_FILESYSTEM
    return is_local and get_local_state_path(config.key, project_root).exists()


def refresh_of(component: dg.StateBackedComponent, project_root: Path) -> Callable[[], None] | None:
    """Return what refreshes the state of a component before its code location is reloaded.

    It raises :class:`NotReloadedError`. It is ``None`` where each start of a code server refreshes.
    """
    kind = component.defs_state_config.management_type
    if kind is DefsStateManagementType.LEGACY_CODE_SERVER_SNAPSHOTS:
        return None

    def refresh() -> None:
        if kind is not DefsStateManagementType.LOCAL_FILESYSTEM:
            msg = f"a sensor cannot refresh a state in {kind.value}: {_NEXT}"
            raise NotReloadedError(msg)
        try:
            asyncio.run(component.refresh_state(project_root))
        except click.ClickException as error:
            raise NotReloadedError(error.message) from error

    return refresh


def shown(error: S3ParquetError) -> click.ClickException:
    """Return an error that Dagster's command line prints without a traceback."""
    return click.ClickException(f"{type(error).__name__}: {error}")


def read_state(source: S3ParquetResource, path: Path | None) -> list[DiscoveredTable]:
    """Return the tables in the state.

    Raises:
        ConfigurationError: There is no state, or it is of other settings.
    """
    where = f"s3://{source.bucket}/{source.path_prefix}"
    if path is None:
        msg = f"nothing is known of the tables in {where} yet: {_NEXT}"
        raise ConfigurationError(msg)
    tables = refreshed(source, path, dg.get_dagster_logger(LOGGER))
    if tables is None:
        msg = (
            f"the tables in {where} were found with other settings of bucket, region, "
            f"endpoint_url, path_prefix, tables, skip_tables or layout: {_NEXT}"
        )
        raise ConfigurationError(msg)
    return tables
