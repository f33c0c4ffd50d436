"""The partition of each of many keys."""

import polars as pl

from s3pq_dagster.layout.key_columns import decoded
from s3pq_dagster.layout.matching import captured
from s3pq_dagster.layout.partitioning import STATIC
from s3pq_dagster.layout.rules import Rule
from s3pq_dagster.layout.template import HIVE


def partitions_of(rule: Rule, keys: pl.Series) -> pl.Series:
    """Return the partition of each key, by its name in Dagster.

    Args:
        rule: A rule with partitions.
        keys: Any keys.

    Returns:
        A text for each key, in order; null where the rule does not take the key, or what it
        captures tells no partition.
    """
    partitioning = rule.partitioning
    assert partitioning is not None  # noqa: S101 - the caller's rule has some
    types = [rule.type_named(name) for name in partitioning.captures]
    texts = _texts(rule, keys, partitioning.captures)
    # Few texts differ, however many keys have them.
    different = texts.unique()
    names = [
        partitioning.partition([_text(text, rule, name) for name, text in row.items()], types)
        for row in different.iter_rows(named=True)
    ]
    told = different.with_columns(pl.Series("\0partition", names, pl.String))
    both = texts.join(told, on=texts.columns, how="left", nulls_equal=True, maintain_order="left")
    return both["\0partition"].alias("partition")


def first_partitions(rule: Rule, keys: pl.Series) -> list[str]:
    """Return what the definition of a table's partitions needs of its keys.

    Returns:
        The least partition; all of them, sorted, where they are texts.
    """
    names = partitions_of(rule, keys).drop_nulls().unique().sort()
    is_text = rule.partitioning is not None and rule.partitioning.kind == STATIC
    return list(names if is_text else names.head(1))


def _texts(rule: Rule, keys: pl.Series, names: tuple[str, ...]) -> pl.DataFrame:
    """Return what a rule captures of keys by some names, the segments of ``{hive}`` included."""
    found = captured(rule, keys)
    return found.select(
        pl.col(name)
        if name in found.columns
        else pl.col(HIVE).str.extract(f"(?:^|/){pl.escape_regex(name)}=([^/]*)/").alias(name)
        for name in names
    )


def _text(text: str | None, rule: Rule, name: str) -> str | None:
    """Return the text that a column of this name has; a segment's is decoded."""
    is_segment = all(each.name != name for each in rule.template.captures)
    return decoded(text) if text is not None and is_segment else text
