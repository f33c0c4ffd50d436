"""What the log says of the tables that are found when a code location starts."""

import logging
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import polars as pl

from s3pq_dagster.dagster.saved_tables import DiscoveredTable
from s3pq_dagster.layout.matching import captured
from s3pq_dagster.layout.presets import PRESETS, before_dates
from s3pq_dagster.layout.rules import Rule
from s3pq_dagster.logs import line
from s3pq_dagster.source.catalog import Group, Grouping

_MANY_DATES = 5
"""So many tables that differ only in a date at the end are called partitions."""


_MOST_RULES = 50
"""So many rules have a line each."""
_MOST_NAMED = 5
"""So many of a rule's tables are named."""


def log_rules(grouping: Grouping, bucket: str, log: logging.Logger) -> None:
    """Log what each rule takes, with an example, and what is left; nothing where there are none.

    Args:
        grouping: The bucket's objects.
        bucket: Names the table of keys that have nothing else for a name.
        log: Gets a line a rule.
    """
    if not (layout := grouping.layout).rules:
        return
    taken: dict[int, list[Group]] = {id(rule): [] for rule in layout.rules}
    left: list[Group] = []
    for group in grouping.groups:
        (left if group.rule is None else taken[id(group.rule)]).append(group)
    for number, rule in enumerate(layout.rules[:_MOST_RULES], start=1):
        facts = {"rule": number, "match": rule.match, **_taken(taken[id(rule)], bucket, rule)}
        log.info(line("rule_preview", **facts))
    if (more := len(layout.rules) - _MOST_RULES) > 0:
        log.info(line("rule_preview", more_rules=more))
    facts = {"objects": grouping.other, "such_as": grouping.example}
    if layout.unmatched in PRESETS:
        facts = _taken(left, bucket)
    log.info(line("rule_preview", unmatched=layout.unmatched, **facts))


def _taken(groups: Sequence[Group], bucket: str, rule: Rule | None = None) -> dict[str, object]:
    """Describe groups: their tables, and one of their keys with what a rule captures of it."""
    names = list(dict.fromkeys(group.bare_name(bucket) for group in groups))
    objects = sum(len(group.listing) for group in groups)
    facts: dict[str, object] = {"tables": len(names), "objects": objects}
    if not groups:
        return facts
    keys = groups[0].listing.frame["key"].head(1)
    facts |= {"named": " ".join(islice(names, _MOST_NAMED)), "such_as": keys[0]}
    values = pl.DataFrame() if rule is None else captured(rule, keys)
    if values.width:
        facts["captures"] = " ".join(
            f"{name}={text}" for name, text in values.row(0, named=True).items()
        )
    return facts


def log_tables(tables: Sequence[DiscoveredTable], log: logging.Logger) -> None:
    """Log each table, and warn of those that do not look right."""
    for table in tables:
        log.info(line("table_found", table=table.name, prefix=table.prefix, objects=table.objects))
    _warn_of_partitions(tables, log)
    _warn_of_collisions(tables, log)


def log_missing(tables: Sequence[DiscoveredTable], saved: Path, log: logging.Logger) -> None:
    """Warn of tables that stay, although nothing of them is listed.

    Args:
        tables: The tables.
        saved: The file that knows them.
        log: Gets the warning.
    """
    named = " ".join(table.name for table in tables[:_MOST_NAMED])
    then = f"they stay for a week; delete {saved} and reload to forget them"
    log.warning(line("tables_empty", tables=len(tables), named=named, consequence=then))


def log_dropped(
    tables: Sequence[DiscoveredTable], of_before: Sequence[DiscoveredTable], log: logging.Logger
) -> None:
    """Warn of tables that the layout of before made, and this one makes no more.

    Args:
        tables: The tables by now.
        of_before: The tables of the layout of before.
        log: Gets the warning.
    """
    names = {table.name.casefold() for table in tables}
    if gone := [table.name for table in of_before if table.name.casefold() not in names]:
        named = " ".join(gone[:_MOST_NAMED])
        then = "they are no assets any more; what is loaded of them stays in the destination"
        log.warning(line("tables_dropped", tables=len(gone), named=named, consequence=then))


def _warn_of_partitions(tables: Sequence[DiscoveredTable], log: logging.Logger) -> None:
    """Warn of tables that differ only in a date at the end: most often they are one."""
    heads = Counter(before_dates(table.prefix) for table in tables)
    for head, count in heads.items():
        if head is not None and count >= _MANY_DATES:
            facts = {"prefix": head, "tables": count, "next": "layout: dated"}
            log.warning(line("partitions_as_tables", **facts))


def _warn_of_collisions(tables: Sequence[DiscoveredTable], log: logging.Logger) -> None:
    """Warn of names that are one to a destination: their tables cannot be loaded."""
    collisions = {table.collision[0]: table.collision[1] for table in tables if table.collision}
    then = "its runs fail and say what to do, other tables load"
    for name, prefixes in collisions.items():
        facts = {"table": name, "prefixes": len(prefixes), "such_as": " ".join(prefixes[:2])}
        log.warning(line("names_collide", **facts, consequence=then))
