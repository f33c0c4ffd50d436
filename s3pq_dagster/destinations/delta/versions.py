"""The versions of a table's schema, as ``_s3pq_schemas`` has them."""

from collections.abc import Iterable, Sequence
from typing import Any

Row = dict[str, Any]


def versions_added(known: Sequence[Row], rows: Iterable[Row | None]) -> list[Row]:
    """Return the rows of ``_s3pq_schemas`` that come with rows of ``_s3pq_tables``.

    Args:
        known: The versions that a table has, or that come with the same change.
        rows: The table's row of ``_s3pq_tables`` as it was, and as it will be. As it was counts
            only if no version is known: the table is of format 1, which had none.

    Returns:
        A version for each schema that is not the one before it.
    """
    last = max(known, key=lambda row: row["version"], default=None)
    number, data = (0, None) if last is None else (last["version"], last["arrow_schema"])
    candidates = list(rows)
    found = []
    for row in candidates if last is None else candidates[-1:]:
        if row is not None and row["arrow_schema"] not in {None, data}:
            number, data = number + 1, row["arrow_schema"]
            found.append(first_version(row) | {"version": number})
    return found


def first_version(row: Row) -> Row:
    """Return the version with which a table begins whose row of ``_s3pq_tables`` this is."""
    return {
        "table_name": row["table_name"],
        "version": 1,
        "arrow_schema": row["arrow_schema"],
        "since_key": row["schema_key"],
        "changed_at": row["updated_at"],
    }
