"""Names as SQL: the one place where a string becomes an identifier."""

from s3pq_dagster.errors import UnsupportedSchemaError


def quoted(identifier: str) -> str:
    """Quote an SQL identifier: the one place where a name becomes SQL.

    Raises:
        UnsupportedSchemaError: The name holds NUL, where DuckDB would cut it, or is empty.
    """
    if not is_usable(identifier):
        msg = f"{identifier!r} cannot be a name in DuckDB: it is empty or holds NUL"
        raise UnsupportedSchemaError(msg)
    return '"' + identifier.replace('"', '""') + '"'


def is_usable(identifier: str) -> bool:
    """Tell whether DuckDB keeps a name as it is: it cuts at NUL and invents one for none."""
    return bool(identifier) and "\x00" not in identifier
