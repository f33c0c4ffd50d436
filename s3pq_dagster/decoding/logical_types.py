"""Columns whose logical type pyarrow does not know, or reads only in part."""

from collections.abc import Collection
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from s3pq_dagster import schemas
from s3pq_dagster.decoding.checked_batch import RefusedValueError
from s3pq_dagster.decoding.leaf_columns import (
    fields_there,
    fields_with,
    leaves_by_field,
    with_fields,
    with_leaf_types,
)
from s3pq_dagster.decoding.thrift_structs import FOOTER_SCHEMA, AnnotatedElement

_DECIMAL128_BYTES, _DECIMAL128_DIGITS = 16, 38
_MOST_DIGITS = 76
TOO_MANY_DIGITS = "Decimal precision out of range"
"""What pyarrow says of a file with a DECIMAL of more digits than Arrow has."""


@dataclass(frozen=True, slots=True)
class UnusualLeaves:
    """Indices of a file's leaf columns that need more than pyarrow does for them."""

    int96: frozenset[int]
    enum: frozenset[int]
    ignored: frozenset[int]
    """Those of which pyarrow ignores the annotation: it does not know it, or it does not fit."""


def find_unusual(file: pq.ParquetFile) -> UnusualLeaves:
    """Find the leaf columns that need more than pyarrow does for them.

    Raises:
        RefusedValueError: pyarrow leaves a column out, or fails on it without its name.
    """
    int96, enum, ignored = set(), set(), set()
    for leaf in range(file.metadata.num_columns):
        column = file.schema.column(leaf)
        physical = column.physical_type
        if column.converted_type == "UNKNOWN":
            ignored.add(leaf)
        if physical == "INT96":
            int96.add(leaf)
        elif physical == "BYTE_ARRAY" and column.converted_type == "ENUM":
            enum.add(leaf)
        elif physical == "FIXED_LEN_BYTE_ARRAY" and column.length > _DECIMAL128_BYTES:
            _check_decimal(column)
    for field in _with_empty_groups(file.schema_arrow):
        where = "has" if field.type.num_fields else "is"
        raise RefusedValueError(f"column {field.name!r} {where} a group without fields")
    return UnusualLeaves(frozenset(int96), frozenset(enum), frozenset(ignored))


@schemas.remembered
def _with_empty_groups(schema: pa.Schema) -> list[pa.Field]:
    return [field for field in schema if _has_empty_group(field.type)]


def _has_empty_group(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.StructType) and not kind.num_fields:
        return True
    return any(_has_empty_group(kind.field(number).type) for number in range(kind.num_fields))


def check_digits(footer: bytes) -> None:
    """Check that a footer has no DECIMAL of more digits than Arrow has.

    Raises:
        RefusedValueError: It has one; the column is named.
        NoStructError: There is no footer in the bytes.
        EOFError: The footer is cut short.
    """
    for element, _, _ in AnnotatedElement.parse_list(footer, FOOTER_SCHEMA):
        if (element.precision or 0) > _MOST_DIGITS:
            name = element.name.decode(errors="replace")
            msg = (
                f"column {name!r} is a DECIMAL of {element.precision} digits, and Arrow has at most"
            )
            raise RefusedValueError(f"{msg} {_MOST_DIGITS}")


def _check_decimal(column: pq.ColumnSchema) -> None:
    if column.converted_type == "DECIMAL" and column.precision <= _DECIMAL128_DIGITS:
        msg = (
            f"column {column.path!r} is a DECIMAL of {column.precision} digits in {column.length} "
            f"bytes, and pyarrow reads so few digits from at most {_DECIMAL128_BYTES} bytes"
        )
        raise RefusedValueError(msg)


class EnumColumns:
    """The columns of one file that are ENUM, or have it somewhere within, which is text.

    pyarrow reads ENUM as bytes. The Parquet format, "Logical Types", says that it is UTF-8.
    """

    def __init__(
        self, schema: pa.Schema, leaves: Collection[int], wanted: pa.Schema | None
    ) -> None:
        """Find the columns.

        Args:
            schema: The canonical schema of the file, ENUM as bytes.
            leaves: Indices of the leaf columns that are ENUM.
            wanted: The table's schema, if it is known: a column of bytes stays one.
        """
        stored = {} if wanted is None else dict(zip(wanted.names, wanted.types, strict=True))
        self._leaves = leaves
        self._leaves_by_field = leaves_by_field(schema)
        self.fields = [
            number
            for number in fields_with(self._leaves_by_field, leaves)
            if stored.get(schema.field(number).name) != schema.field(number).type
        ]
        """Indices of the columns that become text."""

    def as_text_types(self, schema: pa.Schema) -> pa.Schema:
        """Return the file's schema with ENUM as text."""
        for number in self.fields:
            field = schema.field(number)
            schema = schema.set(number, field.with_type(self._type(number, field.type)))
        return schema

    def as_text(self, batch: pa.RecordBatch, leaves: range | None) -> pa.RecordBatch:
        """Return a batch with ENUM as text; ``leaves`` are those that it has, by default all.

        Raises:
            RefusedValueError: A value is not UTF-8.
        """

        def change(number: int, name: str, column: pa.Array) -> pa.Array:
            text = schemas.retyped(column, self._type(number, column.type))
            _check_text(name, text)
            return text

        return with_fields(batch, self.fields, fields_there(self._leaves_by_field, leaves), change)

    def _type(self, number: int, kind: pa.DataType) -> pa.DataType:
        def text(leaf: int, found: pa.DataType) -> pa.DataType:
            is_enum = leaf in self._leaves and pa.types.is_binary(found)
            return pa.string() if is_enum else found

        return with_leaf_types(kind, self._leaves_by_field[number], text)


def _check_text(name: str, column: pa.Array) -> None:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        msg = f"column {name!r} is ENUM, which is text, and has a value that is not UTF-8: {error}"
        raise RefusedValueError(msg) from error
