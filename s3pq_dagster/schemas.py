"""Comparison of Arrow schemas, whichever program wrote the Parquet."""

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import pyarrow as pa

from s3pq_dagster.errors import one_line

KEY_COLUMN = "_s3_key"
"""The column with the key of the object that a row came from."""
TABLE_NAME_KEY = b"cq:table_name"
"""Key of the table name in the schema metadata of every batch, as in the CloudQuery SDK."""
_Found = TypeVar("_Found")
_SCHEMAS_REMEMBERED = 4

_LISTS = {
    pa.lib.Type_LIST: pa.list_,
    pa.lib.Type_LARGE_LIST: pa.large_list,
    pa.lib.Type_LIST_VIEW: pa.list_view,
    pa.lib.Type_LARGE_LIST_VIEW: pa.large_list_view,
}
"""What makes each kind of list of any length."""


def canonical_type(kind: pa.DataType) -> pa.DataType:
    """Return one Arrow type for all types that Parquet stores alike.

    Parquet knows no large, view or dictionary types: writers leave a hint in the footer, and two
    writers of the same data leave different ones. Values are the same in each.

    Returns:
        The type with ``large_`` and ``_view`` variants, dictionaries and extension types other
        than UUID and JSON, which Parquet does not know, replaced by the plain type, at every depth.
    """
    try:
        return _canonical_type(kind)
    except TypeError:  # a user's extension type, which may not be hashable
        return _canonical_type.__wrapped__(kind)


@lru_cache(maxsize=1024)
def _canonical_type(kind: pa.DataType) -> pa.DataType:
    types = pa.types
    if isinstance(kind, pa.UuidType):
        return kind
    if isinstance(kind, pa.JsonType):
        return pa.json_(pa.string())
    if isinstance(kind, pa.BaseExtensionType):
        return canonical_type(kind.storage_type)
    if types.is_dictionary(kind):
        return canonical_type(kind.value_type)
    if types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_large_binary(kind) or types.is_binary_view(kind):
        return pa.binary()
    if kind.id in _LISTS:
        return pa.list_(canonical_type(kind.value_type))
    return with_inner(kind, canonical_type)


def with_inner(kind: pa.DataType, change: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    """Apply a change to the types directly within a list, struct or map; others are returned.

    Names of list items and map entries are those that pyarrow gives, and everything is nullable.
    """
    types = pa.types
    if make := _LISTS.get(kind.id):
        return make(change(kind.value_type))
    if types.is_fixed_size_list(kind):
        return pa.list_(change(kind.value_type), kind.list_size)
    if types.is_struct(kind):
        return pa.struct([(field.name, change(field.type)) for field in kind])
    if types.is_map(kind):
        return pa.map_(change(kind.key_type), change(kind.item_type))
    return kind


def storage_type(kind: pa.DataType) -> pa.DataType:
    """Return a type with extension types replaced by what they are stored as, at any depth."""
    if isinstance(kind, pa.BaseExtensionType):
        return storage_type(kind.storage_type)
    return with_inner(kind, storage_type)


def remembered(of_schema: Callable[[pa.Schema], _Found]) -> Callable[[pa.Schema], _Found]:
    """Remember what a function returned for the last few schemas: many objects have the same one.

    The function must not depend on metadata, and nobody may change what it returns.
    """
    known: tuple[tuple[pa.Schema, _Found], ...] = ()

    @functools.wraps(of_schema)
    def find(schema: pa.Schema) -> _Found:
        nonlocal known  # replaced as a whole: threads need no lock
        for before, found in known:
            if before.equals(schema):
                return found
        found = of_schema(schema)
        known = ((schema, found), *known[: _SCHEMAS_REMEMBERED - 1])
        return found

    return find


@remembered
def canonical(schema: pa.Schema) -> pa.Schema:
    """Return a schema with canonical, nullable types and without metadata."""
    return pa.schema([(field.name, canonical_type(field.type)) for field in schema])


_MOST_FACTS, _FACT_BYTES = 10, 300
"""How many entries of a field's metadata are kept, and how much of each."""
_FORMATS_OWN = (b"PARQUET:", b"ARROW:")
"""Beginnings of the keys that pyarrow uses for itself."""


def with_facts(schema: pa.Schema, stored: pa.Schema) -> pa.Schema:
    """Give a canonical schema what a file says of its columns: nullable or not, and metadata.

    Args:
        schema: The canonical schema of the file.
        stored: The schema as it is in the file.
    """
    if schema.names != stored.names:
        return schema
    return pa.schema(map(_with_facts, schema, stored))


def _with_facts(field: pa.Field, stored: pa.Field) -> pa.Field:
    said = (stored.metadata or {}).items()
    facts = {k: v[:_FACT_BYTES] for k, v in said if not k.startswith(_FORMATS_OWN)}
    kept = dict(list(facts.items())[:_MOST_FACTS])
    return field.with_nullable(stored.nullable).with_metadata(kept or None)


def differences(
    expected: pa.Schema,
    found: pa.Schema,
    *,
    expected_in: str = "the table",
    found_in: str = "the object",
) -> list[str]:
    """Describe how two canonical schemas differ; the order of columns does not count.

    Args:
        expected: One schema.
        found: The other.
        expected_in: What has the one schema, in words.
        found_in: What has the other.

    Returns:
        One phrase a column, expected columns first; empty when they are equal.
    """
    wanted, got = _types(expected), _types(found)
    phrases = []
    for name, kind in wanted.items():
        if name not in got:
            phrases.append(f"column {name!r} ({kind}) is not in {found_in}")
        elif got[name] != kind:
            phrases.append(f"column {name!r}: expected {kind}, found {got[name]}")
    phrases += [
        f"column {name!r} ({kind}) is not in {expected_in}"
        for name, kind in got.items()
        if name not in wanted
    ]
    return [one_line(phrase) for phrase in phrases]  # names of nested fields are not escaped


def conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Reorder and cast a batch to a schema that does not differ from its own when canonical.

    Only casts between types with one canonical type are made, which change no value. Columns that
    have their type already are not copied.
    """
    columns = []
    for field in schema:
        column = batch.column(field.name)
        columns.append(conform_column(column, field.type))
    return pa.record_batch(columns, schema=schema)


def conform_column(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Cast a column to another type with the same canonical type."""
    if column.type == kind:
        return column
    stored = storage_type(kind)
    if stored == kind and storage_type(column.type) == column.type:
        if _is_list_view(column.type):
            # pyarrow 26 casts a list view with nulls to a list whose offsets are too short.
            return pa.array(column.to_pylist(), kind)
        return column.cast(kind)
    # pyarrow 26 has no casts of extension types within lists, structs and maps.
    plain = retyped(column, storage_type(column.type))
    return retyped(conform_column(plain, stored), kind)


def retyped(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Give a column another type of the same layout, without a copy or a check."""
    return pa.array(_Retyped(column, kind))


class _Retyped:
    """A column that says it has another type, for Arrow's C data interface."""

    def __init__(self, column: pa.Array, kind: pa.DataType) -> None:
        self._column, self._kind = column, kind

    def __arrow_c_array__(self, _requested: object = None) -> tuple[object, object]:
        """Export the column's buffers with the other type."""
        _, data = self._column.__arrow_c_array__()
        return self._kind.__arrow_c_schema__(), data


def rebuilt(
    column: pa.Array, kind: pa.DataType, change: Callable[[pa.Array, pa.DataType], pa.Array]
) -> pa.Array:
    """Change what is directly within a nested column; ``kind`` nests in the same way."""
    inner = [kind.field(number).type for number in range(kind.num_fields)]
    if pa.types.is_struct(kind):
        fields = [change(column.field(number), each) for number, each in enumerate(inner)]
        return pa.StructArray.from_arrays(fields, fields=list(kind), mask=column.is_null())
    own = 1 if pa.types.is_fixed_size_list(kind) else 2  # validity, and offsets
    buffers = column.buffers()[:own]
    values = change(column.values, *inner)
    return pa.Array.from_buffers(kind, len(column), buffers, -1, column.offset, [values])


def empty_table(schema: pa.Schema) -> pa.Table:
    """Make a table without rows, which pyarrow 26 cannot if an extension type is nested in it."""
    return pa.table([pa.nulls(0, kind) for kind in schema.types], schema=schema)


def as_one(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Join batches of one schema; a single batch is not copied."""
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def to_bytes(schema: pa.Schema) -> bytes:
    """Serialize a schema as an Arrow IPC message."""
    return bytes(schema.serialize())


def from_bytes(data: bytes) -> pa.Schema:
    """Deserialize a schema from :func:`to_bytes`."""
    return pa.ipc.read_schema(pa.py_buffer(data))


def duplicates(names: Iterable[str]) -> list[str]:
    """List names that occur more than once, sorted."""
    return sorted(name for name, count in Counter(names).items() if count > 1)


def folded(name: str) -> bytes:
    """Fold the case of ASCII letters and of no others, as DuckDB compares names.

    ``str.lower`` folds too much: it makes one name of U+212A (KELVIN SIGN) and ``k``.
    """
    return name.encode().lower()


def _types(schema: pa.Schema) -> dict[str, Any]:
    return {field.name: field.type for field in schema}


def _is_list_view(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind))
