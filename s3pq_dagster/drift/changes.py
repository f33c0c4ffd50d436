"""What changes in a table from one schema to the next."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from s3pq_dagster.errors import one_line


@dataclass(frozen=True, slots=True)
class SchemaChanges:
    """The columns that a table gains, and those whose type changes."""

    added: Sequence[pa.Field] = field(default_factory=tuple)
    retyped: Sequence[tuple[pa.Field, pa.Field]] = field(default_factory=tuple)
    """Each column as it was and as it will be."""

    def __bool__(self) -> bool:
        return bool(self.added or self.retyped)

    def added_names(self) -> list[str]:
        """Return the new columns' names."""
        return [each.name for each in self.added]

    def retyped_names(self) -> list[str]:
        """Describe each column whose type changes."""
        return [one_line(f"{new.name}: {old.type} → {new.type}") for old, new in self.retyped]


def schema_changes(before: pa.Schema, after: pa.Schema) -> SchemaChanges:
    """Compare a table's schema with the one it gets; no column is ever dropped.

    Args:
        before: Canonical schema of the table.
        after: Canonical schema with every column of ``before``, in whatever order.
    """
    known = {each.name: each for each in before}
    added = [each for each in after if each.name not in known]
    retyped = [
        (known[each.name], each)
        for each in after
        if each.name in known and known[each.name].type != each.type
    ]
    return SchemaChanges(added, retyped)
