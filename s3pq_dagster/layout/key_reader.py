"""The key columns of a table's objects, read for many keys at a time."""

from collections.abc import Iterator, Sequence

import polars as pl

from s3pq_dagster.layout.key_columns import (
    KeyColumn,
    RawColumn,
    hive_segments,
    read_columns,
)
from s3pq_dagster.layout.matching import KEY, captured, is_taken_by
from s3pq_dagster.layout.presets import dated_values
from s3pq_dagster.layout.rules import TABLE, Layout, Rule
from s3pq_dagster.layout.template import HIVE

_AT_A_TIME = 1000
"""How many keys are matched together: one alone takes as long as some hundreds."""


class KeyReader:
    """Reads key columns of keys that are asked for in about the order that is given."""

    def __init__(self, layout: Layout, keys: Sequence[str] | pl.Series = ()) -> None:
        """Match nothing yet.

        Args:
            layout: Says which rule takes a key, and what it captures.
            keys: The keys that will be asked for, in order; others may be asked for, too.
        """
        self._layout = layout
        self._coming = pl.Series("key", keys, pl.String)
        self._seen = 0
        self._raw: dict[str, list[RawColumn]] = {}
        self._folder: tuple[str, list[RawColumn]] = ("", [])
        """The last folder, and what a preset makes of it."""
        self._last: tuple[list[RawColumn], Sequence[str], list[KeyColumn]] | None = None
        """The last columns, which most often are the next key's too: a partition has many."""

    def columns(self, key: str, taken: Sequence[str] = ()) -> list[KeyColumn]:
        """Return the columns that a key makes.

        Args:
            key: The key of an object.
            taken: Names that no key column may have.

        Raises:
            KeyColumnError: The key has no value for one of them.
        """
        raw = self._raw_of(key)
        if self._last is None or self._last[:2] != (raw, taken):
            self._last = raw, taken, read_columns(raw, taken)
        return self._last[2]

    def _raw_of(self, key: str) -> list[RawColumn]:
        if not self._layout.rules:
            folder = key[: key.rfind("/") + 1]
            if folder != self._folder[0]:
                self._folder = folder, list(_of_preset(self._layout.unmatched, folder))
            return self._folder[1]
        if key not in self._raw:
            self._match(key)
        return self._raw[key]

    def _match(self, key: str) -> None:
        """Match a key, and those that come after the ones matched before."""
        coming = self._coming.slice(self._seen, _AT_A_TIME)
        self._seen += len(coming)
        keys = pl.concat([coming, pl.Series("key", [key], pl.String)]).unique()
        self._raw = dict(_raw_columns(self._layout, keys))


def _raw_columns(layout: Layout, keys: pl.Series) -> Iterator[tuple[str, list[RawColumn]]]:
    """Yield each key and what the rule that takes it, or the preset, captures of it."""
    left = keys.to_frame("key")
    for rule in layout.rules:
        taken = left.filter(is_taken_by(rule))["key"]
        left = left.filter(~KEY.is_in(taken.implode()))
        values = captured(rule, taken)
        for key, row in zip(taken, values.iter_rows(named=True), strict=True):
            yield key, list(_of_rule(rule, row))
    for key in left["key"]:
        yield key, list(_of_preset(layout.unmatched, key))


def _of_rule(rule: Rule, captures: dict[str, str]) -> Iterator[RawColumn]:
    for capture in rule.template.captures:
        if capture.name == HIVE:
            for name, text in hive_segments(captures[HIVE]):
                if name not in rule.drop:
                    yield RawColumn(name, text, rule.type_of(name), is_hive=True)
        elif capture.name != TABLE and capture.name not in rule.drop:
            kind = rule.type_of(capture.name, capture)
            yield RawColumn(capture.name, captures[capture.name], kind)


def _of_preset(preset: str, key: str) -> Iterator[RawColumn]:
    folder = key[: key.rfind("/") + 1]
    if preset in ("hive", "dated") and "=" in folder:
        for name, text in hive_segments(folder):
            yield RawColumn(name, text, is_hive=True)
    if preset == "dated":
        for name, value in dated_values(folder).items():
            yield RawColumn(name, value)
