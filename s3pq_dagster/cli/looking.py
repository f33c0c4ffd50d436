"""Each table as the destination has it, and what a run would do with it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from s3pq_dagster.cli.progress import counted_off
from s3pq_dagster.cli.target import OpenTarget
from s3pq_dagster.dagster.partitions import partitions_definition
from s3pq_dagster.destinations.table_look import TableLook
from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.errors import (
    DestinationDeniedError,
    DestinationError,
    DestinationLockedError,
    S3ParquetError,
    TableNameCollisionError,
)
from s3pq_dagster.layout.key_partitions import first_partitions
from s3pq_dagster.layout.table_rule import columns_hash, rule_of
from s3pq_dagster.ledger import Difference
from s3pq_dagster.loading.plan import LoadOptions, LoadPlan
from s3pq_dagster.objects import Listing
from s3pq_dagster.source.catalog import TableListing


@dataclass(frozen=True, slots=True)
class SeenTable:
    """A table: its listing, what the destination holds of it, and what a run would do."""

    name: str
    plan: LoadPlan
    look: TableLook
    """What the destination holds; empty where it could not be asked."""
    found: Difference
    """What is pending; nothing where the table fails before it reads."""
    error: S3ParquetError | None = None
    """Why a run of the table fails, if it does."""

    @property
    def is_due(self) -> bool:
        """Whether a run would change anything."""
        return self.error is None and (bool(self.found) or self.plan.refresh)

    @property
    def quarantined(self) -> int:
        """How many of the listed objects are set aside, in the listed version."""
        return self.look.state.ledger.quarantined(self.plan.listing).height


def seen(opened: OpenTarget, tables: Sequence[TableListing]) -> Iterator[SeenTable]:
    """Ask the destination for each table.

    Raises:
        DestinationError: It cannot be read at all.
        ConfigurationError: There is none.
    """
    refusals, is_answered = set[str](), False
    doing = f"asking {opened.io_manager.storage_kind()}"
    for each in counted_off(_each(opened, tables), doing, "tables", len(tables)):
        is_answered = is_answered or each.error is None
        if isinstance(each.error, DestinationDeniedError):
            refusal = str(each.error) if is_answered else _of_any_table(each.name, each.error)
            if refusal in refusals:  # it is not about the one table
                raise each.error
            refusals.add(refusal)
        yield each


def _each(opened: OpenTarget, tables: Sequence[TableListing]) -> Iterator[SeenTable]:
    for table in tables:
        plan = plan_of(opened, table)
        seen = SeenTable(table.name, plan, TableLook.empty(), Difference(Listing.of([]), []))
        try:
            _check(opened, table)
            seen = replace(seen, look=opened.destination.look(plan.owner))
            found = plan.difference(seen.look.state)
            if not found and not plan.refresh:
                plan.check_readable(plan.unreadable(seen.look.state.ledger))
            seen = replace(seen, found=found)
        except S3ParquetError as error:
            if type(error) in (DestinationError, DestinationLockedError):
                raise  # nor would it answer for the next table
            seen = replace(seen, error=error)
        yield seen


def _of_any_table(name: str, error: Exception) -> str:
    """Return what an error says, with the table's name left out of the paths."""
    return re.sub(rf"(?<=/){re.escape(name)}(?![\w-])", "*", str(error))


def plan_of(opened: OpenTarget, table: TableListing) -> LoadPlan:
    """Return the plan of a run without options."""
    source, pattern = opened.source, table.pattern
    layout = columns_hash(source.key_layout, pattern)
    owner = Owner(table.name, source.bucket, pattern, not source.incremental, layout)
    spec = source.for_table(pattern)
    return LoadPlan(spec=spec, owner=owner, listing=table.listing, options=LoadOptions())


def _check(opened: OpenTarget, table: TableListing) -> None:
    """Raise what a run raises before it asks the destination.

    Raises:
        TableNameCollisionError: Other tables have its name.
        TableFormatError: Its files are those of another format's table.
        TooManyPartitionsError: Its rule makes more partitions than Dagster is made for.
    """
    if table.collision is not None:
        raise TableNameCollisionError([table.collision])
    opened.grouping.checked_listing(table.name, table.pattern)
    rule = rule_of(opened.source.key_layout, table.pattern)
    if rule is not None and rule.partitioning is not None:
        names = first_partitions(rule, table.listing.frame["key"])
        partitions_definition(table.name, rule.partitioning, names)
