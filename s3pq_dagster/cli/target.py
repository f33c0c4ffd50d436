"""Which bucket and which destination are meant, and how they are opened to be looked at."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import dagster as dg

from s3pq_dagster.cli.options import Asked
from s3pq_dagster.cli.progress import step
from s3pq_dagster.cli.projects import sources_in_component, sources_in_module
from s3pq_dagster.dagster.environment import configured
from s3pq_dagster.dagster.io_manager import S3ParquetIOManager
from s3pq_dagster.dagster.io_managers import build_io_manager
from s3pq_dagster.dagster.opening import opened_resource
from s3pq_dagster.dagster.resource import S3ParquetResource
from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster.errors import ConfigurationError, one_line
from s3pq_dagster.source.catalog import Grouping, TableListing, tables_in
from s3pq_dagster.source.listing import BucketListing

LOG = logging.getLogger("s3pq_dagster.cli")
"""Warnings go to standard error; there are few, such as that of a lock that is waited for."""
_LOCK_SECONDS = 5.0
"""How long a look waits for a DuckDB file that a run has open. Runs wait longer."""
_MOST_NAMED = 10
_LISTED_SECONDS = 0.5
"""How often a listing says how far it is."""


@dataclass(frozen=True, slots=True)
class Target:
    """A bucket, and where its tables go."""

    name: str | None
    """What tells it from others; ``None`` if it has no name."""
    source: S3ParquetResource
    destination: S3ParquetIOManager | str | None
    """An IO manager, or a URL; ``None`` where none is known."""

    @contextmanager
    def opened(self, changed: dict[str, Any] | None = None) -> Iterator["OpenTarget"]:
        """Open the bucket, with environment variables read now. Nothing is sent yet.

        Args:
            changed: Fields of the source to replace, as they are after validation.

        Raises:
            ConfigurationError: A variable is not set, or has no value that is allowed.
        """
        with _told_in_a_line(), opened_resource(self.source) as opened:
            source = opened.model_copy(update=changed) if changed else opened
            with ExitStack() as stack:
                yield OpenTarget(self, source, stack)


@dataclass(frozen=True)
class OpenTarget:
    """A target whose bucket is open."""

    target: Target
    source: S3ParquetResource
    stack: ExitStack
    """What is open beside the bucket."""
    listing: BucketListing = field(init=False)
    """The listing of everything that the source is to list, once it is asked for."""

    def __post_init__(self) -> None:
        """List nothing yet."""
        object.__setattr__(self, "listing", BucketListing(self.source.path_prefix))

    @property
    def place(self) -> str:
        """What is listed."""
        return f"s3://{self.source.bucket}/{self.source.path_prefix}"

    def named(self) -> dict[str, Any]:
        """Return how the source is named in what is printed for scripts."""
        return {
            "source": self.target.name,
            "bucket": self.source.bucket,
            "path_prefix": self.source.path_prefix,
        }

    @cached_property
    def io_manager(self) -> S3ParquetIOManager:
        """The IO manager, which waits for no lock for long.

        Raises:
            ConfigurationError: There is none, or it cannot be used.
        """
        given = self.target.destination
        if given is None:
            named = "" if self.target.name is None else f" of source {self.target.name!r}"
            msg = (
                f"the definitions have no IO manager{named} of this package: name them as "
                f"build_s3_parquet_definitions does"
            )
            raise ConfigurationError(msg)
        with _told_in_a_line():
            manager = build_io_manager(given) if isinstance(given, str) else given
            manager.check_installed()
            opened = self.stack.enter_context(opened_resource(manager))
        patience = getattr(opened, "lock_timeout_seconds", None)
        if patience is None:
            return opened
        return opened.model_copy(
            update={"lock_timeout_seconds": min(float(patience), _LOCK_SECONDS)}
        )

    @cached_property
    def destination(self) -> Destination:
        """The destination.

        Raises:
            ConfigurationError: As :attr:`io_manager`.
        """
        return self.io_manager.destination(LOG)

    @cached_property
    def grouping(self) -> Grouping:
        """All objects, by table; listed when it is first asked for.

        Raises:
            StoreError: The bucket cannot be listed.
        """
        with step(f"listing {self.place}", "objects") as shown:
            # Pages are waited for where progress is shown: without it, none are.
            seconds = _LISTED_SECONDS if shown.is_shown else None
            while True:
                found = self.source.list_on(self.listing, LOG, seconds=seconds)
                shown.is_at(self.listing.objects)
                if found is not None:
                    return found

    def tables(self, asked: Asked) -> list[TableListing]:
        """Return the tables that are loaded, of those that are asked for.

        Raises:
            StoreError: The bucket cannot be listed.
            TableNameError: No table name can be made of a prefix.
        """
        found = tables_in(
            self.grouping,
            bucket=self.source.bucket,
            tables=self.source.tables,
            skip_tables=self.source.skip_tables,
        )
        return [table for table in found if asked.is_wanted(table.name)]


def check_found(asked: Asked, opened: Sequence[OpenTarget]) -> None:
    """Check that each name that is asked for is that of a table; the buckets are listed.

    Raises:
        ConfigurationError: One is not, and would look like a table that is up to date.
    """
    if asked.tables:
        check_known(asked, [table.name for each in opened for table in each.tables(Asked())])


def check_known(asked: Asked, known: Sequence[str]) -> None:
    """Check that each name that is asked for is one of those of all tables.

    Raises:
        ConfigurationError: One is not.
    """
    for glob in asked.tables:
        if not any(fnmatchcase(name, glob) for name in known):
            msg = f"there is no table {glob!r} in the bucket; there is {some_of(known)}"
            raise ConfigurationError(msg)


def some_of(names: Sequence[str]) -> str:
    """Name a few tables, and count the others."""
    more = len(names) - _MOST_NAMED
    told = ", ".join(names[:_MOST_NAMED])
    return f"{told} and {more:,} more" if more > 0 else told or "none"


def targets(asked: Asked) -> Sequence[Target]:
    """Find the sources that are asked for: those of the environment, a module or a component.

    Raises:
        ConfigurationError: There are none, or none of the name that is asked for.
    """
    found = _found(asked)
    if asked.source is None:
        return found
    if chosen := [target for target in found if target.name == asked.source]:
        return chosen
    names = ", ".join(sorted(repr(target.name) for target in found if target.name is not None))
    msg = f"there is no source {asked.source!r}; there is {names or 'one without a name'}"
    raise ConfigurationError(msg)


def _found(asked: Asked) -> Sequence[Target]:
    if asked.module is not None and asked.component is not None:
        msg = "give either --module or --component"
        raise ConfigurationError(msg)
    if asked.module is not None:
        return [Target(*each) for each in sources_in_module(asked.module)]
    if asked.component is not None:
        return [Target(*each) for each in sources_in_component(asked.component)]
    source, destination = configured(os.environ)
    return [Target(None, source, destination)]


@contextmanager
def _told_in_a_line() -> Iterator[None]:
    """Turn what Dagster and pydantic say of configuration into an error of ours.

    Raises:
        ConfigurationError: They refuse it.
    """
    try:
        yield
    except dg.DagsterInvalidConfigError as error:
        told = "; ".join(one_line(each.message) for each in error.errors)
        raise ConfigurationError(told) from error
