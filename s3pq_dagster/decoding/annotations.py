"""Columns whose annotation allows fewer values than they are stored with.

An INT(8) is stored in 32 bits, and a column that is annotated as always null may have values.
pyarrow believes the annotation: it cuts integers to their bits, and makes null of any value. So it
is given a footer without these annotations, and what it decodes is held against them here.
"""

from collections.abc import Mapping
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from s3pq_dagster import schemas
from s3pq_dagster.decoding.checked_batch import RefusedValueError
from s3pq_dagster.decoding.leaf_columns import (
    fields_there,
    fields_with,
    leaf_types,
    leaves_by_field,
    with_fields,
    with_leaf_types,
)
from s3pq_dagster.decoding.thrift_structs import FOOTER_SCHEMA, NoStructError, SchemaElement

_NARROW = {
    pa.int8(): "INT(8, signed)",
    pa.int16(): "INT(16, signed)",
    pa.uint8(): "INT(8, unsigned)",
    pa.uint16(): "INT(16, unsigned)",
    pa.null(): "UNKNOWN, always null,",
}
"""Parquet's annotation by the type that pyarrow makes of it."""
_SHOWN = 60
"""Characters of a value that an error shows."""
_TWO_SCHEMAS = "its footer describes the columns in two ways"


@schemas.remembered
def find_annotated(schema: pa.Schema) -> Mapping[int, pa.DataType]:
    """Return the types of the leaf columns with such an annotation, by index."""
    return {leaf: kind for leaf, kind in enumerate(leaf_types(schema)) if kind in _NARROW}


class AnnotatedColumns:
    """The columns of one file that have an annotation which pyarrow believes."""

    def __init__(self, schema: pa.Schema, leaves: Mapping[int, pa.DataType]) -> None:
        """Find the columns.

        Args:
            schema: The schema of the file.
            leaves: The annotated leaf columns, from :func:`find_annotated`.
        """
        self.leaves = leaves
        self._leaves_by_field = leaves_by_field(schema)
        self._fields = fields_with(self._leaves_by_field, self.leaves)

    def footer_without(self, footer: bytes) -> bytes:
        """Return a footer without the annotations, and otherwise the same byte by byte.

        Raises:
            RefusedValueError: The footer cannot be followed.
        """
        parts, leaf, at = [], 0, 0
        try:
            for element, start, end in SchemaElement.parse_list(footer, FOOTER_SCHEMA):
                if element.num_children or element.type is None:
                    continue
                if leaf in self.leaves:
                    parts += [footer[at:start], element.dump()]
                    at = end
                leaf += 1
        except (NoStructError, EOFError) as error:
            raise RefusedValueError(f"its footer cannot be followed: {error}") from error
        return b"".join([*parts, footer[at:]])

    def check_stored(self, stored: pa.Schema) -> None:
        """Check the schema of a file that was opened by :meth:`footer_without`.

        Raises:
            RefusedValueError: It still has an annotation, or other columns: a hostile footer has
                two lists of columns.
        """
        if leaves_by_field(stored) != self._leaves_by_field or find_annotated(stored):
            raise RefusedValueError(_TWO_SCHEMAS)

    def annotated_types(self, stored: pa.Schema) -> pa.Schema:
        """Return the schema with the annotated types, from one with the stored types."""
        fields = list(stored)
        for number in self._fields:
            fields[number] = fields[number].with_type(self._type(number, fields[number].type))
        return pa.schema(fields)

    def annotated(self, batch: pa.RecordBatch, leaves: range | None) -> pa.RecordBatch:
        """Return a batch with annotated types; ``leaves`` are those that it has, by default all.

        Raises:
            RefusedValueError: A value is beyond its annotation.
        """

        def change(number: int, name: str, column: pa.Array) -> pa.Array:
            return _annotated(name, column, self._type(number, column.type))

        return with_fields(batch, self._fields, fields_there(self._leaves_by_field, leaves), change)

    def _type(self, number: int, kind: pa.DataType) -> pa.DataType:
        return with_leaf_types(kind, self._leaves_by_field[number], self.leaves.get)


def _annotated(name: str, column: pa.Array, kind: pa.DataType) -> pa.Array:
    if column.type == kind:
        return column
    if pa.types.is_nested(kind):
        return schemas.rebuilt(column, kind, partial(_annotated, name))
    if pa.types.is_null(kind):
        if column.null_count < len(column):
            raise _beyond(name, kind, column.drop_null()[0])
        return pa.nulls(len(column))
    try:
        return column.cast(kind)
    except pa.ArrowInvalid:
        cut = pc.cast(column, kind, safe=False).cast(column.type)
        raise _beyond(name, kind, column.filter(pc.not_equal(cut, column))[0]) from None


def _beyond(name: str, kind: pa.DataType, value: pa.Scalar) -> RefusedValueError:
    try:
        shown = repr(value.as_py())
    except (ValueError, OverflowError):  # a moment that Python does not have
        shown = repr(value)
    shown = shown[:_SHOWN] + ("…" if len(shown) > _SHOWN else "")
    return RefusedValueError(
        f"column {name!r} is annotated as {_NARROW[kind]} and has the value {shown}. As a column "
        f"without this annotation it could be kept"
    )
