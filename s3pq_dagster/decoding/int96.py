"""Timestamps that a file holds as INT96: read as the very moment, or refused by column and value.

INT96 is a day and a nanosecond of the day. pyarrow makes one number of 64 bits of it, in a unit
that it is told: in nanoseconds that number wraps outside the years 1677 to 2262, in microseconds
the last three digits are cut, and it says neither. Three units together tell the moment.
Nanoseconds are right modulo 2^64, so nanoseconds minus a thousand times the microseconds, modulo
2^64, are the digits that were cut. Milliseconds reach all 2^32 days of INT96, so microseconds or
nanoseconds which divided give another number of milliseconds have wrapped.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from s3pq_dagster import schemas
from s3pq_dagster.decoding.checked_batch import RefusedValueError, checked, columns_within
from s3pq_dagster.decoding.leaf_columns import fields_there, fields_with, leaves_by_field

UNIT = "us"
"""The unit of INT96, unless the table's column is in nanoseconds."""
TIMES_DECODED = 3
"""How often a column with INT96 is decoded: in microseconds, nanoseconds and milliseconds."""
_IN_NANOSECONDS = {"us": 1_000, "ns": 1}
_MILLISECOND = 1_000_000
_BEYOND = {
    "us": "which 64 bits of microseconds do not reach",
    "ns": (
        "which the nanoseconds of the table's column do not reach: 1677-09-21 to 2262-04-11. After "
        "a full_refresh the table has microseconds, which do"
    ),
}
_CUT = (
    "of which the table's microseconds would cut the last digits. As a Parquet timestamp in "
    "nanoseconds (INT64) it could be kept"
)
_UNEVEN = "the columns of a row group have different numbers of rows"


class Int96Columns:
    """The columns of one file that are INT96, or have it somewhere within."""

    def __init__(
        self,
        file: pq.ParquetFile,
        leaves: Collection[int],
        open_in: Callable[[str], pq.ParquetFile],
        annotated: Callable[[pa.Schema], pa.Schema],
        wanted: pa.Schema | None,
        *,
        refuses: bool,
    ) -> None:
        """Open nothing unless ``wanted`` has to be compared with.

        Args:
            file: The file, with INT96 in :data:`UNIT`.
            leaves: Indices of the leaf columns that are INT96; not empty.
            open_in: Opens the same file with INT96 in another unit.
            annotated: Makes the types of the rows from those that are stored.
            wanted: The table's schema, if it is known: a column that is in nanoseconds there is
                decoded in nanoseconds.
            refuses: Whether a value that does not fit is an error.
        """
        self.leaves_by_field = leaves_by_field(file.schema_arrow)
        self.fields = fields_with(self.leaves_by_field, leaves)
        """Indices of the columns, as the schema counts them."""
        self._open_in, self._annotated = open_in, annotated
        self.refuses = refuses
        self.in_nanoseconds = {} if wanted is None else self._in_nanoseconds(wanted)
        """The types of the columns that are decoded in nanoseconds, by index."""

    @property
    def leaves(self) -> frozenset[int]:
        """Indices of all leaf columns of these columns, which are decoded three times."""
        return frozenset(leaf for number in self.fields for leaf in self.leaves_by_field[number])

    def exact_types(self, schema: pa.Schema) -> pa.Schema:
        """Return a canonical schema of the file with the units in which columns are decoded."""
        for number, kind in self.in_nanoseconds.items():
            schema = schema.set(number, pa.field(schema.field(number).name, kind))
        return schema

    def row_group(
        self, group: int, rows_at_a_time: int, leaves: range | None, *, threads: bool
    ) -> "Int96RowGroup":
        """Decode a row group's INT96 columns beside its other batches; ``leaves`` limits which."""
        there = fields_there(self.leaves_by_field, leaves)
        fields = [number for number in there if number in self.fields]
        wanted = [leaf for number in fields for leaf in self.leaves_by_field[number]]

        def batches(file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
            yield from file.reader.iter_batches(rows_at_a_time, [group], wanted, threads)

        positions = [there.index(number) for number in fields]
        beside = [_Rows(batches(file)) for file in (self._nanoseconds, self._milliseconds)]
        return Int96RowGroup(self, dict(zip(positions, fields, strict=True)), beside)

    @cached_property
    def _nanoseconds(self) -> pq.ParquetFile:
        return self._open_in("ns")

    @cached_property
    def _milliseconds(self) -> pq.ParquetFile:
        return self._open_in("ms")

    def _in_nanoseconds(self, wanted: pa.Schema) -> dict[int, pa.DataType]:
        found = self._annotated(schemas.canonical(self._nanoseconds.schema_arrow))
        stored = dict(zip(wanted.names, wanted.types, strict=True))
        each = ((number, found.field(number)) for number in self.fields)
        return {
            number: field.type for number, field in each if stored.get(field.name) == field.type
        }


class Int96RowGroup:
    """The INT96 columns of one row group, decoded beside the batches of all its columns."""

    def __init__(
        self, columns: Int96Columns, positions: dict[int, int], beside: Sequence["_Rows"]
    ) -> None:
        """Decode nothing yet.

        Args:
            columns: The file's INT96 columns.
            positions: Index in the file of each such column by its index in the batches.
            beside: The rows of these columns in nanoseconds, and in milliseconds.
        """
        self._columns, self._positions, self._beside = columns, positions, beside

    def exact(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the row group's next batch with INT96 in the unit it is wanted in.

        Raises:
            RefusedValueError: A moment does not fit the unit.
        """
        if not self._positions:
            return batch
        kinds, columns = self._columns.in_nanoseconds, list(batch.columns)
        beside = [rows.take(batch.num_rows) for rows in self._beside] if batch.num_rows else None
        for number, (position, field) in enumerate(self._positions.items()):
            if beside is None:
                columns[position] = pa.nulls(0, kinds.get(field, columns[position].type))
                continue
            nanoseconds, milliseconds = (rows.column(number) for rows in beside)
            found = nanoseconds if field in kinds else columns[position]
            if self._columns.refuses:
                _check(batch.schema.field(position).name, found, nanoseconds, milliseconds)
            columns[position] = found
        return pa.record_batch(columns, names=batch.schema.names)


class _Rows:
    """A stream of batches, taken any number of rows at a time."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._rest: pa.RecordBatch | None = None

    def take(self, count: int) -> pa.RecordBatch:
        """Return the next rows; at least one.

        Raises:
            ValueError: There are fewer.
        """
        parts: list[pa.RecordBatch] = []
        while count:
            if self._rest is None or not self._rest.num_rows:
                found = next(self._batches, None)
                if found is None:
                    raise ValueError(_UNEVEN)
                self._rest = checked(found)
            parts.append(self._rest.slice(0, count))
            self._rest = self._rest.slice(parts[-1].num_rows)
            count -= parts[-1].num_rows
        return schemas.as_one(parts)


def _check(name: str, found: pa.Array, nanoseconds: pa.Array, milliseconds: pa.Array) -> None:
    """Check that a column has the moments of the file.

    Raises:
        RefusedValueError: It does not; the first such moment is named.
    """
    for each in _int96_within(found, nanoseconds, milliseconds):
        unit = each[0].type.unit
        kept, exact, coarse = map(_integers, each)
        factor = _IN_NANOSECONDS[unit]
        digits = exact.view(np.uint64) - kept.view(np.uint64) * np.uint64(factor)
        is_beyond = kept // (_MILLISECOND // factor) != coarse
        wrong = np.flatnonzero(is_beyond | (digits != 0))
        if len(wrong):
            first = wrong[0]
            moment = _moment(int(coarse[first]), int(exact[first]))
            why = _BEYOND[unit] if is_beyond[first] else _CUT
            msg = f"column {name!r} has the INT96 timestamp {moment}, {why}"
            raise RefusedValueError(msg)


def _int96_within(
    found: pa.Array, nanoseconds: pa.Array, milliseconds: pa.Array
) -> Iterator[tuple[pa.Array, pa.Array, pa.Array]]:
    """Yield the values of each INT96 leaf: other timestamps have one type in every unit."""
    same = (found, nanoseconds, milliseconds)
    kind = nanoseconds.type
    if kind == milliseconds.type:
        return
    if not pa.types.is_nested(kind):
        yield same
    for inner in zip(*map(columns_within, same), strict=True):
        yield from _int96_within(*inner)


def _integers(column: pa.Array) -> np.ndarray[Any, np.dtype[np.int64]]:
    found: np.ndarray[Any, np.dtype[np.int64]] = (
        column.view(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    )
    return found


def _moment(milliseconds: int, nanoseconds: int) -> str:
    """Word a moment of which the nanoseconds are known modulo 2^64."""
    rest = (nanoseconds - milliseconds * _MILLISECOND) % 2**64
    seconds, thousandths = divmod(milliseconds, 1_000)
    digits = f"{thousandths * _MILLISECOND + rest:09d}".rstrip("0")
    return f"{np.datetime64(seconds, 's')}{'.' if digits else ''}{digits}"
