"""Which objects make which table."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import polars as pl

from s3pq_dagster.errors import (
    TableFormatError,
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
    collision: tuple[str, list[str]] | None = None
    """If others have the same name, or one that differs only by case: all of these names, and the
    patterns they come from."""


@dataclass(frozen=True, slots=True)
class Group:
    """Objects of one table, before its name is made."""

    folder: Folder
    listing: Listing
    rule: Rule | None = None
    """The rule that takes them; ``None`` where it is the preset."""

    @property
    def takes_any_format(self) -> bool:
        """Whether files of another format's table are loaded all the same."""
        return self.rule is not None and self.rule.takes_any_format

    def bare_name(self, bucket: str) -> str:
        """Return the table's name; empty where no character is left for one."""
        return bare_name(f"{bucket if self.folder.name is None else self.folder.name}/")


@dataclass(frozen=True, slots=True)
class Grouping:
    """A listing's objects by the pattern of their table, and how many were left out."""

    layout: Layout
    """What they are grouped by."""
    groups: Sequence[Group]
    """The objects of each table, sorted by pattern."""
    ignored: int
    """Number of Parquet objects in temporary or hidden places."""
    other: int
    """Number of objects that no rule takes, directory markers included."""
    example: str | None = None
    """Key of one of the others."""
    formats: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Folder and format of the tables of another format, by pattern in its canonical form."""
    _by_text: Mapping[str, Group] = field(init=False)
    """The groups by pattern, as it is and in its canonical form."""

    def __post_init__(self) -> None:
        """Index the groups; rules come first where two have one pattern."""
        found = sorted(self.groups, key=lambda group: group.rule is None, reverse=True)
        by_canonical = {canonical(group.folder.pattern): group for group in found}
        by_pattern = {group.folder.pattern: group for group in found}
        object.__setattr__(self, "_by_text", by_canonical | by_pattern)

    @property
    def by_pattern(self) -> dict[str, Listing]:
        """The objects by pattern, in its canonical form."""
        return {canonical(group.folder.pattern): group.listing for group in self.groups}

    def group(self, pattern: str) -> Group | None:
        """Return the objects of a pattern.

        Where a rule and the preset have patterns of one folder, the same pattern counts first.
        """
        return self._by_text.get(pattern) or self._by_text.get(canonical(pattern))

    def listing(self, pattern: str) -> Listing:
        """Return the objects of a pattern, of which there may be none."""
        group = self.group(pattern)
        return Listing.of([]) if group is None else group.listing

    def checked_listing(self, table: str, pattern: str) -> Listing:
        """Return the objects of a pattern, to be loaded.

        Raises:
            TableFormatError: They are files of a table of another format.
        """
        if (found := self.format_of(pattern)) is not None:
            raise TableFormatError(table, *found)
        return self.listing(pattern)

    def format_of(self, pattern: str) -> tuple[str, str] | None:
        """Return folder and format of the table whose files have a pattern, if it is of another."""
        return self.formats.get(canonical(pattern))


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
    formats = _formats(groups, formatted_folders(listing.frame))
    return Grouping(layout, groups, ignored, other.height, example, formats)


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
    if not keys:
        return set()
    if layout.unmatched == "error":
        layout = layout.model_copy(update={"unmatched": "ignore"})
    listed = Listing(pl.DataFrame({"key": list(keys)}, schema={"key": pl.String}))
    grouping = group_objects(listed, layout)
    own = grouping.group(pattern)
    others = [group.listing for group in grouping.groups if group is not own]
    return {key for part in others for key in part.frame["key"]}


def _groups_of(rule: Rule, taken: pl.DataFrame) -> list[Group]:
    """Group the objects that a rule takes by what its table's name is made of."""
    if taken.is_empty():
        return []
    names = rule.named_by
    if not names:
        folder = Folder(rule.template.text, rule.name_of({}))
        return [Group(folder, Listing(taken), rule)]
    values = captured(rule, taken["key"]).select(names)
    marks = {name: f"\0{name}" for name in names}  # no column of a listing
    parts = taken.hstack(values.rename(marks)).partition_by(
        list(marks.values()), as_dict=True, include_key=False
    )
    groups = []
    for texts, part in parts.items():
        filled = dict(zip(names, map(str, texts), strict=True))
        folder = Folder(rule.template.filled(filled).text, rule.name_of(filled))
        groups.append(Group(folder, Listing(part), rule))
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
        ``*`` but not ``?*``. If two patterns give one name, or names that differ only by case,
        each name is a table with a collision.

    Raises:
        TableNameError: A pattern that passes gives an empty name.
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
    told = [each for same in by_folded.values() for each in _told_apart(same)]
    return sorted(told, key=lambda table: table.name)


def _told_apart(same: list[TableListing]) -> list[TableListing]:
    """Return tables whose names a destination takes for one; each name once, with the collision."""
    if len(same) == 1:
        return same
    by_name: defaultdict[str, list[TableListing]] = defaultdict(list)
    for table in same:
        by_name[table.name].append(table)
    collision = " / ".join(sorted(by_name)), [table.pattern for table in same]
    tables = []
    for name, parts in by_name.items():
        listed = Listing(pl.concat([part.listing.frame for part in parts], rechunk=False))
        tables.append(TableListing(name, parts[0].pattern, listed, collision))
    return tables
