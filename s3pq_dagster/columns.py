"""The columns we add to a file's: CloudQuery's row ids and the object's key."""

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.errors import UnsupportedSchemaError
from s3pq_dagster.objects import ObjectMeta

ID_COLUMN = "_cq_id"
PARENT_COLUMN = "_cq_parent_id"
_WAY_OUT = (
    "Rename the column in every object of the table, or leave the table out with `skip_tables`."
)


def with_ours(schema: pa.Schema, key: str, *, add_cq_ids: bool) -> pa.Schema:
    """Add our columns to an object's schema.

    A file that has ``_cq_id`` or ``_cq_parent_id`` keeps its own, in whatever case of letters:
    destinations fold case, so two would be one.

    Args:
        schema: Canonical, the file's own columns.
        key: The object's, for the error.
        add_cq_ids: Whether CloudQuery's columns are wanted.

    Raises:
        UnsupportedSchemaError: Two columns have one name, or one is named ``_s3_key`` in whatever
            case of letters.
    """
    if names := schemas.duplicates(schema.names):
        msg = (
            f"object {key!r} has more than one column named {', '.join(map(repr, names))}: they "
            f"could not be told apart. {_WAY_OUT}"
        )
        raise UnsupportedSchemaError(msg)
    own = {schemas.folded(name): name for name in schema.names}
    if (taken := own.get(schemas.folded(schemas.KEY_COLUMN))) is not None:
        msg = (
            f"object {key!r} has a column {taken!r}: {schemas.KEY_COLUMN!r}, in any case of "
            f"letters, is the name under which its rows' key is stored. {_WAY_OUT}"
        )
        raise UnsupportedSchemaError(msg)
    for name in (ID_COLUMN, PARENT_COLUMN) if add_cq_ids else ():
        if schemas.folded(name) not in own:
            schema = schema.append(pa.field(name, pa.uuid()))
    return schema.append(pa.field(schemas.KEY_COLUMN, pa.string()))


def add_ours(
    batch: pa.RecordBatch, found: ObjectMeta, bucket: str, first_row: int, schema: pa.Schema
) -> pa.RecordBatch:
    """Fill our columns in.

    Args:
        batch: The file's own columns.
        found: The object.
        bucket: Its bucket.
        first_row: The number, within the object, of the batch's first row.
        schema: What :func:`with_ours` gave; the batch that is returned has it.
    """
    rows = batch.num_rows
    columns: dict[str, Any] = dict(zip(batch.schema.names, batch.columns, strict=True))
    if ID_COLUMN in schema.names and ID_COLUMN not in columns:
        columns[ID_COLUMN] = cq_ids(found, bucket, np.arange(first_row, first_row + rows))
    if PARENT_COLUMN in schema.names and PARENT_COLUMN not in columns:
        columns[PARENT_COLUMN] = pa.nulls(rows, pa.uuid())
    columns[schemas.KEY_COLUMN] = pa.repeat(pa.scalar(found.key, pa.string()), rows)
    conformed = [schemas.conform_column(columns[field.name], field.type) for field in schema]
    return pa.record_batch(conformed, schema=schema)


def cq_ids(found: ObjectMeta, bucket: str, rows: np.ndarray[Any, np.dtype[np.int64]]) -> pa.Array:
    """Make a UUIDv8 (RFC 9562, section 5.8) for each row of an object.

    The free 122 bits are 64 bits of SHA-256 over bucket, key and version, then the row's number in
    58 bits. Ids of one object ascend, so they cost a destination next to nothing to store.

    Args:
        found: The object.
        bucket: Its bucket.
        rows: Row numbers within the object, from 0.

    Returns:
        An array of type ``arrow.uuid``, one id a row number.
    """
    parts = [part.encode() for part in (bucket, found.key, found.version)]
    digest = hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in parts)).digest()
    seed = int.from_bytes(digest[:8], "big")
    high = (seed >> 16) << 16 | 0x8000 | (seed >> 4) & 0xFFF
    low = 0b10 << 62 | (seed & 0xF) << 58
    words = np.empty((len(rows), 2), dtype=">u8")
    words[:, 0] = high
    words[:, 1] = rows.astype(np.uint64) | np.uint64(low)
    storage = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), len(rows), [None, pa.py_buffer(words.tobytes())]
    )
    return pa.ExtensionArray.from_storage(pa.uuid(), storage)
