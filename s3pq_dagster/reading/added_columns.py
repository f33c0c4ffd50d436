"""The columns this package adds to a file's own: CloudQuery's row ids and the object's key."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.drift.fitting import STRICT
from s3pq_dagster.drift.rescued import RESCUED_COLUMN, RESCUED_TYPE
from s3pq_dagster.errors import UnsupportedSchemaError
from s3pq_dagster.layout.key_columns import KeyColumn
from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster.spec import MIB

ID_COLUMN = "_cq_id"
PARENT_COLUMN = "_cq_parent_id"
OUR_COLUMNS = (ID_COLUMN, PARENT_COLUMN, schemas.KEY_COLUMN, RESCUED_COLUMN)
"""Names that no column of a key may have."""
_WAY_OUT = (
    "Rename the column in every object of the table, or leave the table out with `skip_tables`."
)
_JOINED_BYTES = 2 * MIB
"""Most bytes of a batch that small batches are joined to."""


def schema_with_added_columns(
    schema: pa.Schema, key: str, *, add_cq_ids: bool, mode: str = STRICT
) -> pa.Schema:
    """Append the added columns to an object's schema.

    A file that has ``_cq_id`` or ``_cq_parent_id``, in any case of letters, keeps its own:
    destinations fold case, so a second one would have the same name.

    Args:
        schema: Canonical schema of the file's own columns.
        key: Key of the object, for the error.
        add_cq_ids: Whether CloudQuery's two columns are added.
        mode: Where schemas may differ, names that differ only by case are one name.

    Raises:
        UnsupportedSchemaError: Two columns have one name, or one has a name of ours in any case of
            letters.
    """
    check_names(schema, key, mode)
    own = {schemas.folded(name) for name in schema.names}
    for name in (ID_COLUMN, PARENT_COLUMN) if add_cq_ids else ():
        if schemas.folded(name) not in own:
            schema = schema.append(pa.field(name, pa.uuid()))
    return schema.append(pa.field(schemas.KEY_COLUMN, pa.string()))


def without_other_ids(added: pa.Schema, own: pa.Schema, table: pa.Schema) -> pa.Schema:
    """Leave out CloudQuery's columns that a table has from its files, in another type than ours.

    Args:
        added: Schema of an object with the added columns.
        own: The object's schema without them.
        table: The table's schema.
    """
    there = {schemas.folded(each.name): each.type for each in table}
    mine = {schemas.folded(name) for name in own.names}
    return pa.schema(
        [
            each
            for each in added
            if each.name not in (ID_COLUMN, PARENT_COLUMN)
            or schemas.folded(each.name) in mine
            or there.get(schemas.folded(each.name), each.type) == each.type
        ]
    )


def check_names(schema: pa.Schema, key: str, mode: str) -> None:
    """Refuse columns that could not be told apart, or not from ours.

    Raises:
        UnsupportedSchemaError: As :func:`schema_with_added_columns`.
    """
    if names := schemas.duplicates(schema.names):
        msg = (
            f"object {key!r} has more than one column named {', '.join(map(repr, names))}: they "
            f"could not be told apart. {_WAY_OUT}"
        )
        raise UnsupportedSchemaError(msg)
    own = {schemas.folded(name): name for name in schema.names}
    if mode != STRICT and len(own) < len(schema):
        twins = [name for name in schema.names if own[schemas.folded(name)] != name]
        msg = (
            f"object {key!r} has columns whose names differ only by case, {twins[0]!r} and "
            f"{own[schemas.folded(twins[0])]!r}: with `schema_mode: {mode}` they are one column. "
            f"{_WAY_OUT}"
        )
        raise UnsupportedSchemaError(msg)
    ours = {schemas.KEY_COLUMN: "its rows' key is", RESCUED_COLUMN: "values without a column are"}
    for name in (schemas.KEY_COLUMN, RESCUED_COLUMN):
        if (taken := own.get(schemas.folded(name))) is not None:
            msg = (
                f"object {key!r} has a column {taken!r}: {name!r}, in any case of letters, is the "
                f"name under which {ours[name]} stored. {_WAY_OUT}"
            )
            raise UnsupportedSchemaError(msg)


@dataclass(frozen=True, slots=True)
class RowSpan:
    """Consecutive rows of one object."""

    object: ObjectMeta
    first: int
    """Number of the first row within its object, from 0."""
    count: int
    """How many rows."""
    key_columns: tuple[KeyColumn, ...] = ()
    """Columns of the object's key that its batch has not yet."""

    @property
    def key_bytes(self) -> int:
        """About the bytes that the columns of its key take."""
        return self.count * sum(each.width for each in self.key_columns)

    def is_like(self, other: "RowSpan") -> bool:
        """Return whether the columns of both keys have the same names and types, in order."""
        mine, its = self.key_columns, other.key_columns
        return [(each.name, each.type) for each in mine] == [(each.name, each.type) for each in its]


def joined(
    pieces: Iterable[tuple[pa.RecordBatch, RowSpan]], most_rows: int
) -> Iterator[tuple[pa.RecordBatch, list[RowSpan]]]:
    """Join small batches, in order; a batch that is not small is yielded as it is.

    The work on each batch takes as long as that on a thousand rows, so small ones are slow. The
    bound of rows matters where values take no bytes, as nulls do until columns are added.

    Args:
        pieces: Batches, and whose rows they are.
        most_rows: Most rows in a joined batch.

    Yields:
        Batches, and whose rows they are, in order.
    """
    waiting: list[pa.RecordBatch] = []
    rows: list[RowSpan] = []
    held = count = 0
    for batch, some in pieces:
        size = batch.get_total_buffer_size() + some.key_bytes
        is_small = size <= _JOINED_BYTES and some.count < most_rows
        fits = held + size <= _JOINED_BYTES and count + some.count <= most_rows
        is_alike = waiting and some.is_like(rows[0]) and batch.schema.equals(waiting[0].schema)
        if waiting and not (fits and is_alike):
            yield schemas.as_one(waiting), rows
            waiting, rows, held, count = [], [], 0, 0
        if not is_small:
            yield batch, [some]  # before the next one is decoded
            continue
        waiting.append(batch)
        rows.append(some)
        held += size
        count += some.count
    if waiting:
        yield schemas.as_one(waiting), rows


def batches_with_added_columns(
    pieces: Iterable[tuple[pa.RecordBatch, RowSpan]],
    bucket: str,
    schema: pa.Schema,
    *,
    join_rows: int | None,
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of several objects, in order, with the added columns.

    Args:
        pieces: Batches of the files' own columns, each of one object.
        bucket: The objects' bucket.
        schema: As of :func:`schema_with_added_columns`; the returned batches have it.
        join_rows: Small batches are joined to at most so many rows; ``None`` joins none.
    """
    alone = ((batch, [rows]) for batch, rows in pieces)
    for batch, rows in alone if join_rows is None else joined(pieces, join_rows):
        yield add_columns(batch, rows, bucket, schema)


def add_columns(
    batch: pa.RecordBatch, rows: Sequence[RowSpan], bucket: str, schema: pa.Schema
) -> pa.RecordBatch:
    """Add the columns' values to a batch.

    Args:
        batch: The files' own columns.
        rows: The objects that the rows come from, in the order of the rows.
        bucket: The objects' bucket.
        schema: As of :func:`schema_with_added_columns`; the returned batch has it.
    """
    columns: dict[str, Any] = dict(zip(batch.schema.names, batch.columns, strict=True))
    columns |= _columns_of_keys(rows)
    names = schema.names
    if ID_COLUMN in names and ID_COLUMN not in columns:
        columns[ID_COLUMN] = cq_ids(rows, bucket)
    if PARENT_COLUMN in names and PARENT_COLUMN not in columns:
        columns[PARENT_COLUMN] = pa.nulls(batch.num_rows, pa.uuid())
    if RESCUED_COLUMN in names and RESCUED_COLUMN not in columns:
        columns[RESCUED_COLUMN] = pa.nulls(batch.num_rows, RESCUED_TYPE)
    columns[schemas.KEY_COLUMN] = _keys(rows)
    conformed = [
        schemas.conform_column(columns[name], kind)
        for name, kind in zip(names, schema.types, strict=True)
    ]
    return pa.RecordBatch.from_arrays(conformed, schema=schema)


def cq_ids(rows: Sequence[RowSpan], bucket: str) -> pa.Array:
    """Make a UUIDv8 (RFC 9562, section 5.8) for each row of some objects.

    The free 122 bits are 64 bits of SHA-256 over bucket, key and version, then the row's number
    within its object in 58 bits. Ids of one object ascend, so they cost a destination next to
    nothing to store.

    Args:
        rows: The rows, and the objects they belong to.
        bucket: The objects' bucket.

    Returns:
        An array of type ``arrow.uuid``, one id a row.
    """
    seeds = [_seed(some.object, bucket) for some in rows]
    high = [(seed >> 16) << 16 | 0x8000 | (seed >> 4) & 0xFFF for seed in seeds]
    low = [0b10 << 62 | (seed & 0xF) << 58 for seed in seeds]
    numbers = [np.arange(some.first, some.first + some.count, dtype=np.uint64) for some in rows]
    words = np.empty((sum(some.count for some in rows), 2), dtype=">u8")
    words[:, 0] = _for_each_row(high, rows)
    words[:, 1] = np.concatenate(numbers) | _for_each_row(low, rows)
    storage = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), len(words), [None, pa.py_buffer(words.tobytes())]
    )
    return pa.ExtensionArray.from_storage(pa.uuid(), storage)


def _seed(found: ObjectMeta, bucket: str) -> int:
    parts = [part.encode() for part in (bucket, found.key, found.version)]
    digest = hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in parts)).digest()
    return int.from_bytes(digest[:8], "big")


def _keys(rows: Sequence[RowSpan]) -> pa.Array:
    return _one_of_each([some.object.key for some in rows], pa.string(), rows)


def _columns_of_keys(rows: Sequence[RowSpan]) -> dict[str, pa.Array]:
    """Make the columns that batches have not yet: one call for many objects."""
    found = zip(*(some.key_columns for some in rows), strict=True)
    return {
        each[0].name: _one_of_each([column.value for column in each], each[0].type, rows)
        for each in found
    }


def _one_of_each(values: list[Any], kind: pa.DataType, rows: Sequence[RowSpan]) -> pa.Array:
    """Make a column of one value for each span."""
    if len(rows) == 1:
        return pa.repeat(pa.scalar(values[0], kind), rows[0].count)
    return pa.array(values, kind).take(pa.array(_for_each_row(range(len(rows)), rows)))


def _for_each_row(
    values: Iterable[int], rows: Sequence[RowSpan]
) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Repeat each value, of which there is one for each span, for every row of its span."""
    of_spans = np.fromiter(values, np.uint64, len(rows))
    return np.repeat(of_spans, [some.count for some in rows])
