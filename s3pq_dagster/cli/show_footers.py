"""What `s3pq plan --footers` shows of a table's schema."""

from collections.abc import Iterator
from typing import Any

from s3pq_dagster.drift.fitting import RESCUE
from s3pq_dagster.loading.outlook import SchemaOutlook
from s3pq_dagster.logs import counted

_MOST_SHOWN = 5
"""So many schemas, or objects, have a line each."""


def footer_json(found: SchemaOutlook) -> dict[str, Any]:
    """Return it for scripts."""
    return {
        "read": found.footers,
        "rows": found.rows,
        "unreadable": [{"key": key, "reason": reason} for key, reason in found.unreadable],
        "added_columns": [
            {"name": each.name, "type": str(each.type)} for each in found.changes.added
        ],
        "retyped_columns": [
            {"name": new.name, "from": str(old.type), "to": str(new.type)}
            for old, new in found.changes.retyped
        ],
        "schema_replaced": found.replaced,
        "deviations": [
            {"objects": each.objects, "first_key": each.first_key, "differences": each.differences}
            for each in found.deviations
        ],
    }


def footer_lines(
    found: SchemaOutlook, mode: str, *, is_new: bool, not_looked_at: int
) -> Iterator[str]:
    """Yield lines that say what becomes of a table, but for its error.

    Args:
        found: What the footers say.
        mode: The table's ``schema_mode``.
        is_new: Whether the table has no columns yet.
        not_looked_at: Pending objects beyond those whose footers are read.
    """
    if found.replaced:
        yield "takes another schema, since all its rows are replaced"
    if added := found.changes.added:
        columns = ", ".join(f"{each.name} {each.type}" for each in added)
        yield f"{'begins with' if is_new else 'gains'} {columns}"
    if retyped := found.changes.retyped_names():
        yield f"widens {', '.join(retyped)}"
    if found.error is None:
        yield from _deviating(found, mode)
    for key, reason in found.unreadable[:_MOST_SHOWN]:
        yield f"sets aside {key}: {reason}"
    if (more := len(found.unreadable) - _MOST_SHOWN) > 0:
        yield f"sets aside {counted(more, 'object')} more"
    if not_looked_at:
        yield f"{counted(not_looked_at, 'footer')} not read"


def _deviating(found: SchemaOutlook, mode: str) -> Iterator[str]:
    """Yield a line for each schema that is not the table's, and fits all the same."""
    how = "rescues into _s3pq_rescued" if mode == RESCUE else "fits by nulls and casts"
    for each in found.deviations[:_MOST_SHOWN]:
        objects = counted(each.objects, "object")
        yield f"{how} {objects}, such as {each.first_key}: {'; '.join(each.differences)}"
    if (more := len(found.deviations) - _MOST_SHOWN) > 0:
        yield f"{how} {counted(more, 'schema')} more"
