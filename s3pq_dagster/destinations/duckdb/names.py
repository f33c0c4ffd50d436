"""Names as SQL: the one place where a string becomes an identifier."""

from s3pq_dagster.errors import UnsupportedSchemaError


def quoted(identifier: str) -> str:
    """Quote an SQL identifier: the one place where a name becomes SQL.

    Raises:
        UnsupportedSchemaError: The name holds NUL, where DuckDB would cut it, or is empty.
    """
    if not identifier or "\x00" in identifier:
        msg = f"{identifier!r} cannot be a name in DuckDB: it is empty or holds NUL"
        raise UnsupportedSchemaError(msg)
    return '"' + identifier.replace('"', '""') + '"'
