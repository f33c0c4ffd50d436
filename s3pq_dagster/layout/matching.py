"""Which rule takes a key, for many keys at a time, in time linear in their length."""

import re

import polars as pl

from s3pq_dagster.layout.rules import Rule
from s3pq_dagster.layout.template import SUFFIX, Literal

KEY = pl.col("key")
_SCRATCH = (
    r"(?s)(?:^|/)"
    r"(?:_temporary|_delta_log|_spark_metadata|_SUCCESS|\.[^/.][^/]*|\.\.[^/]+)"
    r"(?:/|$)"
)
"""Matches a key with a segment that marks a temporary or hidden object.

A segment that starts with a dot is hidden; ``.`` and ``..`` themselves are names like any other.
"""
_MARKED_NAME = r"(?s)(?:^|/)[_.][^/]*$"
"""Matches a key whose last segment is marked as no data, as Spark and Hive mark them."""


def is_parquet() -> pl.Expr:
    """Return whether a key has Parquet's extension."""
    return KEY.str.slice(KEY.str.len_chars() - len(SUFFIX)).str.to_lowercase() == SUFFIX


def is_scratch() -> pl.Expr:
    """Return whether a key is in a temporary or hidden place."""
    return KEY.str.contains(_SCRATCH)


def is_taken_by(rule: Rule) -> pl.Expr:
    """Return whether a rule takes a key that no rule before it takes.

    A key in a temporary or hidden place is taken only where the template names that place; one
    whose last segment begins with ``_`` or ``.`` only where the template ends in ``.parquet``.
    """
    template = rule.template
    taken = KEY.str.starts_with(template.prefix) & KEY.str.contains(template.regex)
    literals = [part.text for part in template.parts if isinstance(part, Literal)]
    if not any(re.search(_SCRATCH, text) for text in literals):
        taken &= ~is_scratch()
    if not rule.match.endswith(SUFFIX):
        taken &= ~KEY.str.contains(_MARKED_NAME)
    return taken


def captured(rule: Rule, keys: pl.Series) -> pl.DataFrame:
    """Return what a rule captures of keys that it takes.

    Returns:
        A row a key, and a column of text for each capture, named after it.
    """
    names = [capture.name for capture in rule.template.captures]
    if not names:
        return pl.DataFrame(height=len(keys))
    groups = keys.str.extract_groups(rule.template.regex).struct.unnest()
    return groups.rename(dict(zip(groups.columns, names, strict=True)))
