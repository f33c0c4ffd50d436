"""Quotes names as SQL identifiers, and texts as literals."""

from s3pq_dagster.errors import UnsupportedSchemaError


def quoted(identifier: str) -> str:
    """Quote a name as an SQL identifier; names reach SQL in no other way.

    Raises:
        UnsupportedSchemaError: The name is empty, or has NUL in it.
    """
    if not is_usable(identifier):
        msg = f"{identifier!r} cannot be a name in DuckDB: it is empty or holds NUL"
        raise UnsupportedSchemaError(msg)
    return '"' + identifier.replace('"', '""') + '"'


def quoted_text(text: str) -> str:
    """Quote a text as an SQL literal, where DuckDB takes no parameter."""
    return "'" + text.replace("'", "''") + "'"


def is_usable(identifier: str) -> bool:
    """Return whether DuckDB keeps a name: it truncates at NUL, and replaces an empty name."""
    return bool(identifier) and "\x00" not in identifier
