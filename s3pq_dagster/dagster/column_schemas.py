"""The columns of a table as the UI shows them: names, types, and where they come from."""

from collections.abc import Mapping
from types import MappingProxyType

import dagster as dg
import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.drift.rescued import RESCUED_COLUMN, RESCUED_TYPE
from s3pq_dagster.errors import one_line
from s3pq_dagster.layout.key_columns import KeyColumnError
from s3pq_dagster.layout.key_reader import KeyReader
from s3pq_dagster.layout.rules import Layout
from s3pq_dagster.reading.added_columns import ID_COLUMN, PARENT_COLUMN

FROM_TAG = "s3pq/from"
"""Tag of a column that is not from the files: ``key`` or ``load``."""
_LOAD = "load"
_OWN_STAYS = "A file that has the column keeps its own."
_OF_KEY = f"Made from the object's key. {_OWN_STAYS}"
_OURS = {
    (ID_COLUMN, pa.uuid()): (
        "A UUID made of bucket, key, e_tag and row number, so that a row has the same one however "
        f"often it is loaded. {_OWN_STAYS}"
    ),
    (PARENT_COLUMN, pa.uuid()): f"Empty: rows of files have no parent. {_OWN_STAYS}",
    (schemas.KEY_COLUMN, pa.string()): "Key of the object that the row came from.",
    (RESCUED_COLUMN, RESCUED_TYPE): "JSON of the values that have no column they fit into.",
}
"""Descriptions of the columns that a load adds. With another type it is a file's own column."""


_COMMENTS = ("description", "comment", "doc")
"""Keys under which writers describe a column."""
KeyTypes = Mapping[str, pa.DataType]
"""Name and type of each column that a layout makes of a key."""
NO_KEY_COLUMNS: KeyTypes = MappingProxyType({})


def column_schema(
    schema: pa.Schema, of_key: KeyTypes = NO_KEY_COLUMNS, *, known: object = None
) -> dg.TableSchema:
    """Convert an Arrow schema to what the UI shows.

    Args:
        schema: The table's schema; its fields may have what a file says of them.
        of_key: The columns that keys make. One of another type is a file's own, which counts.
        known: What was shown of the table before, if anything: a destination's schema does not
            have what files say of their columns.
    """
    made = {schemas.folded(name): kind for name, kind in of_key.items()}
    fields = {field.name: field for field in schema}
    shown = (
        {(c.name, c.type): c for c in known.columns} if isinstance(known, dg.TableSchema) else {}
    )
    columns = [_column(field, made) for field in fields.values()]
    return dg.TableSchema(columns=[shown.get((c.name, c.type), c) for c in columns])


def column_lineage(schema: dg.TableSchema, source: dg.AssetKey) -> dg.TableColumnLineage:
    """Return which column of what a table is loaded from each of its columns is.

    Columns that a load adds come from none; those that keys make are columns of the source, too.
    """
    read = [column.name for column in schema.columns if column.tags.get(FROM_TAG) != _LOAD]
    return dg.TableColumnLineage({name: [dg.TableColumnDep(source, name)] for name in read})


def key_types(layout: Layout, key: str | None) -> KeyTypes:
    """Return the columns that a layout makes of a key; none without a key."""
    if key is None:
        return NO_KEY_COLUMNS
    try:
        return {column.name: column.type for column in KeyReader(layout).columns(key)}
    except KeyColumnError:  # the object is quarantined for it
        return NO_KEY_COLUMNS


def _column(field: pa.Field, made: Mapping[bytes, pa.DataType]) -> dg.TableColumn:
    origin, said = _LOAD, _OURS.get((field.name, field.type))
    if made.get(schemas.folded(field.name)) == field.type:
        origin, said = "key", _OF_KEY
    return dg.TableColumn(
        name=field.name,
        type=_type_name(field.type),
        description=_facts(field) if said is None else said,
        constraints=dg.TableColumnConstraints(nullable=field.nullable),
        tags=None if said is None else {FROM_TAG: origin},
    )


def _facts(field: pa.Field) -> str | None:
    """Return what a file says of a column in its metadata: a comment first, if it has one."""
    said = {_text(name): _text(value) for name, value in (field.metadata or {}).items()}
    comments = [said.pop(name) for name in _COMMENTS if name in said]
    return ". ".join([*comments, *(f"{name}: {value}" for name, value in said.items())]) or None


def _text(data: bytes) -> str:
    return one_line(data.decode(errors="replace"))


def _type_name(kind: pa.DataType) -> str:
    """Name a type; an extension type by its own name: ``uuid``, not ``extension<arrow.uuid>``."""
    if isinstance(kind, pa.BaseExtensionType):
        return str(kind.extension_name).removeprefix("arrow.")
    return str(kind)
