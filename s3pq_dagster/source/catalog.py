"""Which objects make which table."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import polars as pl

from s3pq_dagster.errors import (
    TableFormatError,
    TableNameCollisionError,
    TableNameError,
    UnmatchedObjectsError,
)
from s3pq_dagster.layout.matching import KEY, captured, is_parquet, is_scratch, is_taken_by
from s3pq_dagster.layout.presets import PRESETS, Folder, canonical
from s3pq_dagster.layout.rules import Layout, Rule
from s3pq_dagster.objects import Listing
from s3pq_dagster.source.table_formats import formatted_folders, is_in_any, own_folders
from s3pq_dagster.source.table_names import bare_name, is_selected

_FOLDER = r"(?s)^(.*/)"
"""Captures a key's folder, up to and including its last slash."""


@dataclass(frozen=True, slots=True)
class TableListing:
    """A table and the objects it is made of."""

    name: str
    pattern: str
    """The pattern of its keys; a folder's is the folder, a root object's is its key."""
    listing: Listing


@dataclass(frozen=True, slots=True)
class Group:
    """Objects of one table, before its name is made."""

    folder: Folder
    listing: Listing
    takes_any_format: bool = False
    """Whether a rule takes the files of another format's table all the same."""

    def bare_name(self, bucket: str) -> str:
        """Return the table's name; empty where no character is left for one."""
        return bare_name(f"{bucket if self.folder.name is None else self.folder.name}/")


@dataclass(frozen=True, slots=True)
class Grouping:
    """A listing's objects by the pattern of their table, and how many were left out."""

    groups: Sequence[Group]
    """The objects of each table, sorted by pattern."""
    by_pattern: Mapping[str, Listing]
    """The same by pattern, in its canonical form."""
    ignored: int
    """Number of Parquet objects in temporary or hidden places."""
    other: int
    """Number of objects that no rule takes, directory markers included."""
    example: str | None = None
    """Key of one of the others."""
    formats: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Folder and format of the tables of another format, by pattern in its canonical form."""

    def listing(self, pattern: str) -> Listing:
        """Return the objects of a pattern, of which there may be none."""
        return self.by_pattern.get(canonical(pattern)) or Listing.of([])

    def checked_listing(self, table: str, pattern: str) -> Listing:
        """Return the objects of a pattern, to be loaded.

        Raises:
            TableFormatError: They are files of a table of another format.
        """
        if (found := self.formats.get(canonical(pattern))) is not None:
            raise TableFormatError(table, *found)
        return self.listing(pattern)


def group_objects(listing: Listing, layout: Layout) -> Grouping:
    """Group a listing's objects by the table that the layout gives them to.

    The first rule that matches a key takes it, whether its table is wanted or not; what no rule
    takes is the preset's. Objects in a temporary or hidden place (``_temporary/``, ``.staging/``)
    are left out.

    Raises:
        UnmatchedObjectsError: The layout refuses what no rule takes, and there is some.
    """
    is_ours = is_in_any(own_folders(listing.frame))
    left, found = listing.frame.filter(~is_ours), list[Group]()
    for rule in layout.rules:
        is_taken = left.select(taken=is_taken_by(rule))["taken"]
        found += _groups_of(rule, left.filter(is_taken))
        left = left.filter(~is_taken)
    parquet = left.filter(is_parquet())
    kept = parquet.filter(~is_scratch())
    ignored = parquet.height - kept.height + listing.frame.select(is_ours.sum()).item()
    other = left.filter(~is_parquet())
    if layout.unmatched in PRESETS:
        found += _folders(layout.unmatched, kept)
    elif layout.unmatched == "error" and kept.height:
        raise UnmatchedObjectsError(kept.height, kept["key"][0])
    else:
        other = pl.concat([kept, other])
    example = other["key"][0] if other.height else None
    groups = sorted(found, key=lambda group: group.folder.pattern)
    by_pattern = {canonical(group.folder.pattern): group.listing for group in groups}
    formats = _formats(groups, formatted_folders(listing.frame))
    return Grouping(groups, by_pattern, ignored, other.height, example, formats)


def _formats(groups: Sequence[Group], folders: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Find the groups that have keys in the folder of another format's table."""
    return {
        canonical(group.folder.pattern): (folder, name)
        for folder, name in folders.items()
        for group in groups
        if not group.takes_any_format
        and group.listing.frame.select(is_in_any([folder]).any()).item()
    }


def keys_of_others(pattern: str, keys: Sequence[str], layout: Layout) -> set[str]:
    """Return those keys that the layout gives to another table than that of a pattern."""
    if layout.unmatched == "error":
        layout = layout.model_copy(update={"unmatched": "ignore"})
    listed = Listing(pl.DataFrame({"key": list(keys)}, schema={"key": pl.String}))
    groups = group_objects(listed, layout).by_pattern
    others = [part for other, part in groups.items() if other != canonical(pattern)]
    return {key for part in others for key in part.frame["key"]}


def _groups_of(rule: Rule, taken: pl.DataFrame) -> list[Group]:
    """Group the objects that a rule takes by what its table's name is made of."""
    if taken.is_empty():
        return []
    names = rule.named_by
    if not names:
        folder = Folder(rule.template.text, rule.name_of({}))
        return [Group(folder, Listing(taken), rule.takes_any_format)]
    values = captured(rule, taken["key"]).select(names)
    marks = {name: f"\0{name}" for name in names}  # no column of a listing
    parts = taken.hstack(values.rename(marks)).partition_by(
        list(marks.values()), as_dict=True, include_key=False
    )
    groups = []
    for texts, part in parts.items():
        filled = dict(zip(names, map(str, texts), strict=True))
        folder = Folder(rule.template.filled(filled).text, rule.name_of(filled))
        groups.append(Group(folder, Listing(part), rule.takes_any_format))
    return groups


def _folders(preset: str, kept: pl.DataFrame) -> list[Group]:
    """Group objects by folder, as a preset sees it."""
    mark = "\0folder"
    folders = kept.with_columns(pl.coalesce(KEY.str.extract(_FOLDER, 1), KEY).alias(mark))
    parts = folders.partition_by(mark, as_dict=True, include_key=False)
    by_table: defaultdict[str, list[tuple[Folder, pl.DataFrame]]] = defaultdict(list)
    for (text,), part in parts.items():
        folder = _folder(preset, str(text))
        by_table[canonical(folder.pattern)].append((folder, part))
    groups = []
    for same in by_table.values():
        # The longest pattern is the one with {hive}, if some of the keys have `key=value`.
        folder = max((folder for folder, _ in same), key=lambda each: len(each.pattern))
        listed = [part for _, part in same]
        groups.append(Group(folder, Listing(pl.concat(listed, rechunk=False))))
    return groups


def _folder(preset: str, folder: str) -> Folder:
    """Return a folder as a preset sees it; a root object is a table of its own."""
    is_root = not folder.endswith("/")
    return PRESETS["prefix" if is_root else preset](folder)


group_by_prefix = partial(group_objects, layout=Layout(unmatched="prefix"))
"""Group objects by the part of their keys up to the last slash, as cq-source-s3 does."""


def tables_in(
    grouping: Grouping, *, bucket: str, tables: list[str], skip_tables: list[str]
) -> list[TableListing]:
    """Name the table of each pattern, and keep those whose names are selected.

    Args:
        grouping: Result of :func:`group_objects`.
        bucket: Names the table of keys that have nothing else for a name.
        tables: Globs of names to keep.
        skip_tables: Globs of names to leave out again.

    Returns:
        The tables sorted by name. A name that is filtered out cannot collide; an empty one passes
        ``*`` but not ``?*``.

    Raises:
        TableNameError: A pattern that passes gives an empty name.
        TableNameCollisionError: Two patterns give one name, or names that differ only by case.
    """
    found = []
    for group in grouping.groups:
        name = group.bare_name(bucket)
        if is_selected(name, tables=tables, skip_tables=skip_tables):
            if not name:
                raise TableNameError(group.folder.pattern)
            found.append(TableListing(name, group.folder.pattern, group.listing))
    by_folded: defaultdict[str, list[TableListing]] = defaultdict(list)
    for table in found:
        by_folded[table.name.casefold()].append(table)
    collisions = [
        (" / ".join(sorted({t.name for t in same})), [t.pattern for t in same])
        for same in by_folded.values()
        if len(same) > 1
    ]
    if collisions:
        raise TableNameCollisionError(collisions)
    return sorted(found, key=lambda table: table.name)
