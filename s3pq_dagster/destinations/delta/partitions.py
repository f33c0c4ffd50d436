"""Partition columns: which are possible, and their values as the Delta protocol writes them."""

from collections.abc import Iterator, Sequence
from urllib.parse import quote

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from s3pq_dagster.errors import RefusedRowsError, UnsupportedSchemaError
from s3pq_dagster.schemas import KEY_COLUMN

_NULL = "__HIVE_DEFAULT_PARTITION__"
Partition = tuple[str | None, ...]


def check_partition_by(schema: pa.Schema, partition_by: Sequence[str], key: str | None) -> None:
    """Refuse to partition by a column that does not exist, or is of an unsuitable type.

    Args:
        schema: The columns as they are stored.
        partition_by: Names of the partition columns.
        key: The object the schema comes from.

    Raises:
        UnsupportedSchemaError: A column is refused, or no other column would be left.
    """
    missing = [name for name in partition_by if name not in schema.names]
    if missing:
        msg = (
            f"cannot partition by {', '.join(map(repr, missing))}: the columns of object {key!r} "
            f"are {', '.join(map(repr, schema.names))}. Change `partition_by`, or leave the table "
            f"out with `skip_tables`."
        )
        raise UnsupportedSchemaError(msg)
    for name in partition_by:
        kind = schema.field(name).type
        if not _is_plain(kind):
            msg = (
                f"cannot partition by {name!r} of object {key!r}: it is stored as {kind}, and only "
                f"strings, integers, booleans and dates can be. Change `partition_by`."
            )
            raise UnsupportedSchemaError(msg)
    if set(schema.names) == set(partition_by):
        msg = f"cannot partition by every column of object {key!r}. Change `partition_by`."
        raise UnsupportedSchemaError(msg)


def parts(
    batch: pa.RecordBatch, partition_by: Sequence[str]
) -> Iterator[tuple[Partition, pa.RecordBatch]]:
    """Split a batch by the values of the partition columns, and drop these columns.

    Raises:
        RefusedRowsError: A value is an empty string, which Delta reads as null.
    """
    if not partition_by:
        yield (), batch
        return
    texts = [_texts(batch, name) for name in partition_by]
    rest = batch.drop_columns(list(partition_by))
    groups = pl.DataFrame(
        {"row": range(batch.num_rows)}
        | {str(n): pl.Series(text.to_pylist(), dtype=pl.String) for n, text in enumerate(texts)}
    ).group_by([str(n) for n in range(len(texts))], maintain_order=True)
    for values, rows in groups:
        yield values, rest.take(rows["row"].to_arrow())


def directory(partition_by: Sequence[str], values: Partition) -> str:
    """Name a partition's directory as Hive does; engines read the values from the log."""
    return "".join(
        f"{quote(name, safe='')}={_NULL if value is None else quote(value, safe='')}/"
        for name, value in zip(partition_by, values, strict=True)
    )


def _is_plain(kind: pa.DataType) -> bool:
    types = pa.types
    plain = (types.is_string, types.is_integer, types.is_boolean, types.is_date32)
    return any(is_one(kind) for is_one in plain)


def _texts(batch: pa.RecordBatch, name: str) -> pa.Array:
    column = batch.column(name)
    texts = column.cast(pa.string())
    if pc.any(pc.equal(pc.binary_length(texts), 0)).as_py():
        first = pc.index(pc.equal(pc.binary_length(texts), 0), value=True).as_py()
        key = batch.column(KEY_COLUMN)[first].as_py()
        reason = (
            f"cannot partition by {name!r}: object {key!r} has an empty string in it, which Delta "
            f"Lake reads back as null"
        )
        raise RefusedRowsError(f"{reason}. Change `partition_by`.", reason=reason, key=key)
    return texts
