"""The partitions of a table, as Dagster's definitions of them."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from s3pq_dagster.dagster.metadata import PARTITIONED_BY, TOO_MANY_PARTITIONS
from s3pq_dagster.dagster.saved_tables import DiscoveredTable
from s3pq_dagster.errors import TooManyPartitionsError
from s3pq_dagster.layout.partitioning import Partitioning
from s3pq_dagster.layout.rules import Layout
from s3pq_dagster.layout.table_rule import rule_of

_MOST_PARTITIONS = 100_000
"""So many partitions Dagster recommends as a limit."""
_OF_KIND = {
    "hourly": dg.HourlyPartitionsDefinition,
    "daily": dg.DailyPartitionsDefinition,
    "monthly": dg.MonthlyPartitionsDefinition,
}


def partitions_definition(
    table: str, partitioning: Partitioning, found: Sequence[str]
) -> dg.PartitionsDefinition[str]:
    """Define a table's partitions; the one of the present time is the last.

    Args:
        table: Its name.
        partitioning: What its rule declares.
        found: The partitions that its listing had when the code location started: the least, or
            all where they are texts.

    Returns:
        A definition without partitions where no key has one.

    Raises:
        TooManyPartitionsError: There are more than 100,000.
    """
    first = partitioning.first or next(iter(found), None)
    kind = _OF_KIND.get(partitioning.kind)
    defined: dg.PartitionsDefinition[str]
    if kind is None or first is None:
        defined = dg.StaticPartitionsDefinition(list(found))
    else:
        defined = kind(start_date=first, timezone=partitioning.timezone, end_offset=1)
    if (number := defined.get_num_partitions()) > _MOST_PARTITIONS:
        raise TooManyPartitionsError(table, number, _MOST_PARTITIONS, str(first))
    return defined


def partitions_of_table(
    table: DiscoveredTable, layout: Layout
) -> tuple[dg.PartitionsDefinition[str] | None, dict[str, Any]]:
    """Return a table's partitions, if its rule declares some, and metadata about them."""
    rule = rule_of(layout, table.prefix)
    if rule is None or rule.partitioning is None or table.collision is not None:
        return None, {}
    try:
        defined = partitions_definition(table.name, rule.partitioning, table.partitions or [])
    except TooManyPartitionsError as error:
        return None, {TOO_MANY_PARTITIONS: error.facts}
    # The IO manager, which reads rows of some partitions, does not know the layout.
    return defined, {PARTITIONED_BY: rule.model_dump(include={"match", "types", "partitions"})}
