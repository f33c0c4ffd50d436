"""What `s3pq tables` shows: the tables that a layout makes of the bucket."""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from s3pq_dagster.cli.options import Asked
from s3pq_dagster.cli.output import Column, Output, print_json
from s3pq_dagster.cli.target import OpenTarget, Target, check_found, targets
from s3pq_dagster.dagster.environment import place_in, read_layout
from s3pq_dagster.errors import ConfigurationError
from s3pq_dagster.layout.key_columns import KeyColumn, KeyColumnError
from s3pq_dagster.layout.key_reader import KeyReader
from s3pq_dagster.logs import counted, human_bytes
from s3pq_dagster.source.catalog import Grouping, TableListing
from s3pq_dagster.source.table_names import is_selected
from s3pq_dagster.spec import S3ParquetSpec

_COLUMNS = [
    Column("table"),
    Column("objects", is_number=True),
    Column("size", is_number=True),
    Column("columns of the key"),
    Column("example"),
]


def run(asked: Asked, layout: str | None) -> int:
    """Print the tables of each source; return the exit code."""
    changed = None if layout is None else {"layout": _checked(layout)}
    found = [_looked_at(target, asked, changed) for target in targets(asked)]
    check_found(asked, [each.opened for each in found])
    if asked.as_json:
        print_json({"sources": [each.as_json() for each in found]})
        return 0
    for each in found:
        each.show(Output())
    return 0


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Objects that are no table's."""

    unmatched: int
    """How many no rule takes, files that are not Parquet included."""
    example: str | None
    hidden: int
    """How many Parquet objects are in temporary or hidden places."""
    unselected: int
    """How many tables ``tables`` and ``skip_tables`` leave out."""

    @classmethod
    def of(cls, opened: OpenTarget) -> "LeftOut":
        """Count them."""
        grouping, source = opened.grouping, opened.source
        names = {group.bare_name(source.bucket) for group in grouping.groups}
        globs = {"tables": source.tables, "skip_tables": source.skip_tables}
        unselected = sum(not is_selected(name, **globs) for name in names)
        return cls(grouping.other, grouping.example, grouping.ignored, unselected)

    def as_json(self) -> dict[str, Any]:
        """Return what is printed for scripts."""
        return {
            "unmatched_objects": self.unmatched,
            "unmatched_example": self.example,
            "hidden_objects": self.hidden,
            "unselected_tables": self.unselected,
        }

    def show(self, out: Output) -> None:
        """Print a line for each kind of which there is any."""
        if self.unmatched:
            objects = counted(self.unmatched, "object")
            out.line(f"no table's: {objects}, such as {self.example}")
        if self.hidden:
            out.line(f"in temporary or hidden places: {counted(self.hidden, 'object')}")
        if self.unselected:
            tables = counted(self.unselected, "table")
            out.line(f"left out by `tables` and `skip_tables`: {tables}")


@dataclass(frozen=True, slots=True)
class _Tables:
    opened: OpenTarget
    tables: list[TableListing]
    left_out: LeftOut

    def as_json(self) -> dict[str, Any]:
        return {
            **self.opened.named(),
            "tables": [self._table_json(table) for table in self.tables],
            **self.left_out.as_json(),
        }

    def show(self, out: Output) -> None:
        heading_of(self.opened, out)
        rows = [
            [
                table.name,
                f"{len(table.listing):,}",
                human_bytes(table.listing.total_bytes),
                self._captures(table),
                example_of(table),
            ]
            for table in self.tables
        ]
        if rows:
            out.table(_COLUMNS, rows)
        for table in self.tables:
            if (fault := fault_of(table, self.opened.grouping)) is not None:
                out.line(f"{table.name}: {fault}")
        self.left_out.show(out)
        if not rows:
            out.line("no table")

    def _captures(self, table: TableListing) -> str:
        try:
            columns = self._columns(table)
        except KeyColumnError as error:
            return str(error)
        return " ".join(f"{each.name}={_text(each)}" for each in columns) or "-"

    def _columns(self, table: TableListing) -> list[KeyColumn]:
        return KeyReader(self.opened.source.key_layout).columns(example_of(table))

    def _table_json(self, table: TableListing) -> dict[str, Any]:
        fault, columns = fault_of(table, self.opened.grouping), list[KeyColumn]()
        try:
            columns = self._columns(table)
        except KeyColumnError as error:
            fault = fault or str(error)
        return {
            "table": table.name,
            "pattern": table.pattern,
            "example": example_of(table),
            "key_columns": [
                {"name": each.name, "type": str(each.type), "value": _text(each)}
                for each in columns
            ],
            "objects": len(table.listing),
            "bytes": table.listing.total_bytes,
            "fault": fault,
        }


def heading_of(opened: OpenTarget, out: Output) -> None:
    """Print which source follows."""
    name = opened.target.name
    out.heading(opened.place if name is None else f"{name}: {opened.place}")


def example_of(table: TableListing) -> str:
    """Return the first of a table's keys."""
    return str(table.listing.frame["key"].min())


def fault_of(table: TableListing, grouping: Grouping) -> str | None:
    """Say why a table is not loaded, as far as its listing tells; ``None`` if nothing is wrong."""
    if table.collision is not None:
        name, patterns = table.collision
        return f"several prefixes make the name {name}: {', '.join(patterns)}"
    if (found := grouping.format_of(table.pattern)) is not None:
        return f"{found[0]} is {found[1]} table, whose log says which files count"
    return None


def _looked_at(target: Target, asked: Asked, changed: dict[str, Any] | None) -> _Tables:
    with target.opened(changed) as opened:
        every = opened.tables(Asked())
        wanted = [each for each in every if asked.is_wanted(each.name)]
        return _Tables(opened, wanted, LeftOut.of(opened))


def _checked(text: str) -> Any:
    """Return a layout that is given on the command line.

    Raises:
        ConfigurationError: It cannot be read, or breaks a rule.
    """
    given = read_layout(text, "--layout")
    try:
        return S3ParquetSpec(bucket="any", region="any", layout=given).layout
    except ValidationError as error:
        told = [
            f"{place_in(found['loc'])}{found['msg'].removeprefix('Value error, ')}"
            for found in error.errors(include_input=False)
        ]
        raise ConfigurationError(f"--layout: {'; '.join(told)}") from error


def _text(column: KeyColumn) -> str | None:
    return None if column.value is None else str(column.value)
