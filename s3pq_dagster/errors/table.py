"""Errors of a table's name, schema and listing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from s3pq_dagster.errors.base import S3ParquetError

_MOST_NAMED = 20


class TableNameError(S3ParquetError):
    """A prefix has no ASCII letter or digit to make a table name of."""

    lasting = True

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        super().__init__(
            f"prefix {prefix!r} gives an empty table name: it has no ASCII letter or digit. "
            f"Rename the prefix, narrow `path_prefix` so that it is not listed, or leave out all "
            f"that have no name: with `?*` instead of `*` in `tables`."
        )


class TableNameCollisionError(S3ParquetError):
    """Several prefixes give one table name, or names that differ only by case."""

    lasting = True

    def __init__(self, collisions: Sequence[tuple[str, Sequence[str]]]) -> None:
        """Name the tables and their prefixes.

        Args:
            collisions: The names that are one, joined by ``/``, and the prefixes they come from.
        """
        self.collisions = collisions
        lines = "; ".join(
            f"table {name!r} would come from prefixes {_some(prefixes)}"
            for name, prefixes in collisions
        )
        super().__init__(
            f"{lines}. Destinations fold case, so names that differ only by case are one name. "
            f"Rename a prefix, leave the name out with `skip_tables`, narrow `path_prefix`, or use "
            f"another name in a rule of the layout; then reload the code location."
        )

    def about(self) -> list[tuple[str, str]]:
        """Return the prefixes."""
        found = [(prefix, name) for name, prefixes in self.collisions for prefix in prefixes]
        return [(prefix, f"gives the table name {name}") for prefix, name in found]


def _some(prefixes: Sequence[str]) -> str:
    more = len(prefixes) - _MOST_NAMED
    named = ", ".join(map(repr, prefixes[:_MOST_NAMED]))
    return named if more <= 0 else f"{named} and {more} more"


class TableFormatError(S3ParquetError):
    """The objects of a table are files of a Delta Lake, Iceberg or Hudi table."""

    lasting = True

    def __init__(self, table: str, folder: str, name: str) -> None:
        self.table = table
        self.found = (folder, name)
        """Folder and format of the other table."""
        super().__init__(
            f"table {table!r}: {folder!r} in the bucket is {name} table: its files hold rows that "
            f"the table has deleted, and only its log says which. Nothing is loaded. Leave it out "
            f"with `skip_tables`, or load every file all the same by a rule of the layout with "
            f"`table_format: files`."
        )

    def about(self) -> list[tuple[str, str]]:
        """Return the folder of the other table."""
        folder, name = self.found
        return [(folder, f"is {name} table")]


class UnmatchedObjectsError(S3ParquetError):
    """The layout refuses Parquet objects that no rule takes, and the bucket has some."""

    def __init__(self, objects: int, example: str) -> None:
        self.objects, self.example = objects, example
        super().__init__(
            f"no rule of the layout takes {objects} Parquet objects, {example!r} among them, and "
            f"the layout says `unmatched: error`. Add a rule for them, narrow `path_prefix`, or "
            f"say `unmatched: ignore`."
        )


@dataclass(frozen=True, slots=True)
class Deviation:
    """Pending objects of one schema that is not their table's."""

    objects: int
    first_key: str
    differences: Sequence[str]


class SchemaMismatchError(S3ParquetError):
    """The schema of an object differs from that of its table."""

    lasting = True

    def __init__(
        self,
        table: str,
        *,
        expected_key: str,
        found_key: str,
        differences: list[str],
        committed: int = 0,
        last_key: str | None = None,
        mode: str = "strict",
        deviations: Sequence[Deviation] = (),
        not_looked_at: int = 0,
        kept_for: str | None = None,
    ) -> None:
        self.table, self.expected_key, self.found_key = table, expected_key, found_key
        self.differences, self.mode = differences, mode
        self.committed, self.last_key = committed, last_key
        self.deviations, self.not_looked_at = deviations, not_looked_at
        self.kept_for = kept_for
        """Why the table does not take the new schema although all its rows are replaced."""
        upto = (
            f" {committed} objects are committed, up to {last_key!r}; none of this object's rows."
            if committed
            else " Nothing of this load is written to the table."
        )
        kept = (
            f" All its rows are replaced, and it would take the new schema, but: {kept_for}."
            if kept_for
            else ""
        )
        super().__init__(
            f"schemas differ in table {table!r}: {found_key!r} does not match {expected_key!r}: "
            f"{_shown(differences)}.{upto}{kept}{_deviating(deviations, not_looked_at)} Repair "
            f"or move one of the two objects, or {_ALLOWING[mode]}; if the new schema is the right "
            f"one, run the table with full_refresh after all its objects have it."
        )

    def about(self) -> list[tuple[str, str]]:
        """Return those that deviate, and the one that has the table's columns."""
        found = [(e.first_key, e.objects, e.differences) for e in self.deviations[:_MOST_SCHEMAS]]
        found = found or [(self.found_key, 1, self.differences)]
        deviating = [(key, f"{_count(count)}: {_shown(how)}") for key, count, how in found]
        return [*deviating, (self.expected_key, "has the columns of the table")]

    def but(self, **changes: Any) -> "SchemaMismatchError":
        """Return the error with some facts that whoever raised it did not know."""
        facts = [
            *("expected_key", "found_key", "differences", "committed", "last_key", "mode"),
            *("deviations", "not_looked_at", "kept_for"),
        ]
        return SchemaMismatchError(self.table, **({n: getattr(self, n) for n in facts} | changes))


_MOST_SCHEMAS = 20
"""Schemas that an error tells."""
_MOST_DIFFERENCES = 8
"""Differences of each that it tells."""
_ALLOWING = {
    "strict": "let the table follow with `schema_mode: evolve` (columns are added, and types grow)",
    "evolve": "keep what has no column as JSON with `schema_mode: rescue`",
    "rescue": "load the table anew",
}
"""What to set so that a load in each mode goes on."""


def _count(objects: int) -> str:
    return "1 object" if objects == 1 else f"{objects} objects"


def _shown(differences: Sequence[str]) -> str:
    more = len(differences) - _MOST_DIFFERENCES
    shown = "; ".join(differences[:_MOST_DIFFERENCES])
    return f"{shown}; and {more} more" if more > 0 else shown


def _deviating(deviations: Sequence[Deviation], not_looked_at: int) -> str:
    """Describe the pending objects that deviate, a line for each schema."""
    if not deviations:
        return ""
    lines = "".join(
        f"\n  {each.objects} objects, {each.first_key!r} first: {_shown(each.differences)}"
        for each in deviations[:_MOST_SCHEMAS]
    )
    if more := deviations[_MOST_SCHEMAS:]:
        lines += f"\n  {sum(each.objects for each in more)} objects of {len(more)} more schemas"
    left = f" ({not_looked_at} not looked at)" if not_looked_at else ""
    return f" Of what is pending, these deviate{left}:{lines}\n"


class UnsupportedSchemaError(S3ParquetError):
    """A destination cannot hold a column without changing it."""

    lasting = True


class RefusedRowsError(UnsupportedSchemaError):
    """A destination cannot hold a value of a checkpoint without changing it."""

    def __init__(self, message: str, *, reason: str, key: str | None = None) -> None:
        self.reason = reason
        """Column, value and cause, without advice."""
        self.key = key
        """Key of the object that has the value; ``None`` if several come into question."""
        super().__init__(message)


class EmptyListingError(S3ParquetError):
    """A listing came back empty, which is never taken for "all deleted"."""

    lasting = True

    def __init__(self, table: str, prefix: str, objects: int) -> None:
        self.table = table
        super().__init__(
            f"the listing of {prefix!r} is empty while {objects} objects of it are loaded into "
            f"table {table!r}; to mirror or refresh it now would remove every row. Nothing is "
            f"removed. If all objects really were deleted, run the table with "
            f"allow_empty_listing: true."
        )


class UnlistedObjectsError(S3ParquetError):
    """A full refresh would drop rows of objects that the bucket has and the listing has not."""

    def __init__(self, table: str, path_prefix: str, keys: Sequence[str]) -> None:
        self.table, self.keys = table, keys
        super().__init__(
            f"{len(keys)} objects of table {table!r} are loaded, are still in the bucket, and were "
            f"not listed under path_prefix {path_prefix!r}, {keys[0]!r} among them; a full refresh "
            f"would drop their rows. Nothing is touched. Widen path_prefix to what was loaded, or "
            f"run the table with allow_unlisted: true to keep only what is listed."
        )

    def about(self) -> list[tuple[str, str]]:
        """Return the objects that are not listed."""
        return [(key, "is in the bucket, and not listed") for key in self.keys]


class QuarantineLimitError(S3ParquetError):
    """More of a table's objects cannot be loaded than the spec allows."""

    def __init__(
        self,
        table: str,
        *,
        quarantined: int,
        listed: int,
        fraction: float,
        key: str,
        reason: str | None,
        refresh: bool = False,
    ) -> None:
        self.table, self.quarantined, self.listed = table, quarantined, listed
        self.key, self.reason = key, str(reason)
        undone = (
            "The table stays as it was." if refresh else "The checkpoint under way is rolled back."
        )
        super().__init__(
            f"{quarantined} of {listed} listed objects of table {table!r} cannot be "
            f"loaded, more than max_quarantined_fraction {fraction} allows: {key!r}: {reason}. "
            f"{undone} "
            f"Repair or remove those objects, or raise max_quarantined_fraction, and run again"
            f"{'' if refresh else ': what is committed is not read again'}."
        )

    def about(self) -> list[tuple[str, str]]:
        """Return one of those that cannot be loaded."""
        return [(str(self.key), self.reason)]


class NoReadableObjectError(S3ParquetError):
    """Not one of a table's listed objects can be loaded, and none was before."""

    lasting = True

    def __init__(self, table: str, listed: int, examples: Sequence[tuple[str, str]]) -> None:
        self.table, self.listed, self.examples = table, listed, examples
        key, reason = examples[0]
        one = f"the only listed object of table {table!r} cannot be loaded", "it"
        more = f"none of the {listed} listed objects of table {table!r} can be loaded", "them"
        told, them = one if listed == 1 else more
        super().__init__(
            f"{told}: {key!r}: {reason}. Replace or remove {them}; once the cause is gone, run the "
            f"table with retry_quarantined: true. If it is no table of yours, leave it out with "
            f"`skip_tables`."
        )

    def about(self) -> list[tuple[str, str]]:
        """Return keys and reasons."""
        return list(self.examples)
