"""How the rows of one schema go into a table of another, and what the table becomes by it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.drift.casts import InexactError, exact
from s3pq_dagster.drift.joins import join_schemas, join_types
from s3pq_dagster.drift.kept_values import exact_where_possible
from s3pq_dagster.drift.rescued import RESCUED_COLUMN, RESCUED_TYPE, as_json
from s3pq_dagster.errors import one_line

STRICT, EVOLVE, RESCUE = "strict", "evolve", "rescue"
"""What becomes of an object whose schema is not its table's: an error, columns that the table gains
or that become wider, or JSON in a column of its own."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What a table becomes by an object, and how the object's rows go into it."""

    schema: pa.Schema
    """The table's schema afterwards."""
    differences: list[str]
    """Why the object does not fit; empty if it does."""


def fit(table: pa.Schema, found: pa.Schema, mode: str, **where: str) -> Fit:
    """Compare an object's schema with its table's.

    Args:
        table: The table's schema, with the added columns.
        found: The object's, with those that are added to it.
        mode: What may differ.
        where: ``expected_in`` and ``found_in`` of :func:`schemas.differences`.
    """
    if mode == RESCUE:
        return Fit(_rescuing(table, found), [])
    if mode == STRICT:
        return Fit(table, _strict_differences(table, found, where))
    joined = join_schemas(table, found)
    phrases = [
        one_line(f"column {name!r}: no type holds both {one} and {other} unchanged")
        for name, one, other in joined.conflicts
    ]
    return Fit(joined.schema, phrases)


def _strict_differences(table: pa.Schema, found: pa.Schema, where: dict[str, str]) -> list[str]:
    """Compare all columns but that of rescued values, which a table may have from before."""
    if RESCUED_COLUMN in table.names and RESCUED_COLUMN not in found.names:
        table = table.remove(table.get_field_index(RESCUED_COLUMN))
    return schemas.differences(table, found, **where)


def start(found: pa.Schema, mode: str) -> pa.Schema:
    """Return the schema of a table whose first object has a schema."""
    return _rescuing(found, found) if mode == RESCUE else found


def _rescuing(table: pa.Schema, found: pa.Schema) -> pa.Schema:
    """Return a table's schema with types for what was null, and the column of rescued values."""
    coming = {schemas.folded(each.name): each.type for each in found}
    fields = [
        each.with_type(_typed(each.type, coming.get(schemas.folded(each.name)))) for each in table
    ]
    if RESCUED_COLUMN not in table.names:
        fields.append(pa.field(RESCUED_COLUMN, RESCUED_TYPE))
    return pa.schema(fields)


def _typed(kind: pa.DataType, found: pa.DataType | None) -> pa.DataType:
    """Return a type in which what was null has the type that is found there."""
    if found is None or kind == found:
        return kind
    if pa.types.is_null(kind):
        return found
    if kind.id != found.id or not pa.types.is_nested(kind):
        return kind
    if pa.types.is_struct(kind):
        coming = {schemas.folded(each.name): each.type for each in found}
        return pa.struct(
            [(each.name, _typed(each.type, coming.get(schemas.folded(each.name)))) for each in kind]
        )
    if pa.types.is_map(kind):
        return pa.map_(kind.key_type, _typed(kind.item_type, found.item_type))
    return schemas.with_inner(kind, lambda inner: _typed(inner, found.value_type))


Convert = Callable[[pa.RecordBatch], pa.RecordBatch]


def conversion(table: pa.Schema, own: pa.Schema, added: Iterable[str], mode: str) -> Convert:
    """Return what makes rows of an object's own columns those of its table.

    Args:
        table: The table's schema, as :func:`fit` returned it.
        own: The object's own columns, those that its key makes included.
        added: Columns that are added to the rows later.
        mode: As in :func:`fit`.

    Returns:
        A function that casts, reorders and adds columns of nulls; it raises
        :class:`InexactError` if a value would change.
    """
    later = set(added)
    sources = {schemas.folded(name): number for number, name in enumerate(own.names)}
    targets = [each for each in table if each.name not in later]
    if mode == RESCUE:
        return _rescue(targets, sources)
    schema = pa.schema(targets)

    def convert(batch: pa.RecordBatch) -> pa.RecordBatch:
        columns = []
        for each in targets:
            number = sources.get(schemas.folded(each.name))
            columns.append(
                pa.nulls(batch.num_rows, each.type)
                if number is None
                else _cast(each, batch.column(number))
            )
        return pa.record_batch(columns, schema=schema)

    return convert


def _cast(target: pa.Field, column: pa.Array) -> pa.Array:
    column = schemas.conform_column(column, schemas.canonical_type(column.type))
    try:
        return exact(column, target.type)
    except InexactError as error:
        raise InexactError(inexact(target, str(error))) from error


def inexact(target: pa.Field, found: str) -> str:
    """Describe a value that its column's type cannot hold."""
    return one_line(
        f"column {target.name!r} has a value that {target.type} cannot hold unchanged: {found}"
    )


def _rescue(targets: list[pa.Field], sources: dict[bytes, int]) -> Convert:
    schema = pa.schema(targets)

    def convert(batch: pa.RecordBatch) -> pa.RecordBatch:
        rows, left = batch.num_rows, dict(sources)
        columns: dict[str, pa.Array] = {}
        rescued: dict[str, tuple[pa.Array, pa.Array]] = {}
        for each in targets:
            number = left.pop(schemas.folded(each.name), None)
            if number is None:
                columns[each.name] = pa.nulls(rows, each.type)
                continue
            column = batch.column(number)
            column = schemas.conform_column(column, schemas.canonical_type(column.type))
            columns[each.name], lost = _kept(column, each.type)
            if lost is not None:
                rescued[batch.schema.names[number]] = (column, lost)
        everything = pa.array(np.ones(rows, bool))
        for number in left.values():
            column = batch.column(number)
            column = schemas.conform_column(column, schemas.canonical_type(column.type))
            rescued[batch.schema.names[number]] = (column, everything)
        columns[RESCUED_COLUMN] = as_json(rescued, rows)
        return pa.record_batch([columns[name] for name in schema.names], schema=schema)

    return convert


def _kept(column: pa.Array, kind: pa.DataType) -> tuple[pa.Array, pa.Array | None]:
    """Return the values that a type holds unchanged, and where the others are."""
    if column.type == kind:
        return column, None
    if join_types(column.type, kind) is None:
        return pa.nulls(len(column), kind), column.is_valid()
    return exact_where_possible(column, kind)
