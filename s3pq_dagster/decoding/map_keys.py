"""Maps whose keys a file declares as optional, which pyarrow does not open.

The Parquet format, "Logical Types", says that the keys of maps are required. Hive, Presto before
0.274 and Trino before 386, so Athena too, declared them as optional. pyarrow refuses the whole file
then. If its footer calls such a map a list, pyarrow reads the same entries, which are made a map
again here. A key that is null is refused.
"""

from collections.abc import Sequence

import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.decoding.checked_batch import RefusedValueError
from s3pq_dagster.decoding.leaf_columns import (
    count_leaves,
    fields_there,
    fields_with,
    leaves_by_field,
    with_fields,
)
from s3pq_dagster.decoding.thrift_structs import FOOTER_SCHEMA, AnnotatedElement

OPTIONAL_KEYS = "Map keys must be annotated as required"
"""What pyarrow says of such a file."""
_MAP, _MAP_KEY_VALUE, _LIST = 1, 2, 3
"""Converted types by their numbers in parquet.thrift; the second is an old name of the first."""
_OPTIONAL, _REPEATED = 1, 2
_ENTRY = 2
"""Number of the columns of an entry: key and value."""
_Place = tuple[int, int]
"""Where a map is: the index of its first leaf column, and the number of lists and maps around it.
No two have the same."""


def with_lists_for_maps(footer: bytes) -> tuple[bytes, frozenset[_Place]]:
    """Write a footer in which the maps with optional keys are lists of their entries.

    Args:
        footer: The file's footer, without length and magic.

    Returns:
        The new footer, and the places of those lists.

    Raises:
        NoStructError: There is no footer in the bytes.
        EOFError: The footer is cut short.
    """
    spans = list(AnnotatedElement.parse_list(footer, FOOTER_SCHEMA))
    maps = _find_maps([element for element, _, _ in spans])
    parts, done = [], 0
    for number in maps:
        # The entries, too, may have the old annotation.
        for at, annotation in ((number, _LIST), (number + 1, None)):
            element, start, end = spans[at]
            parts += [footer[done:start], _plain_group(element, annotation).dump()]
            done = end
    return b"".join([*parts, footer[done:]]), frozenset(maps.values())


def _plain_group(element: AnnotatedElement, annotation: int | None) -> AnnotatedElement:
    return AnnotatedElement(
        repetition_type=element.repetition_type,
        name=element.name,
        num_children=element.num_children,
        converted_type=annotation,
    )


def _find_maps(elements: Sequence[AnnotatedElement]) -> dict[int, _Place]:
    """Find the maps with optional keys: their places by their index, in order."""
    found: dict[int, _Place] = {}
    numbers = iter(range(len(elements)))
    leaf = 0

    def visit(depth: int) -> None:
        nonlocal leaf
        number = next(numbers)
        element = elements[number]
        if _has_optional_keys(elements[number : number + 3]):
            found[number] = (leaf, depth)
        if number and element.repetition_type == _REPEATED:
            depth += 1
        for _ in range(element.num_children or 0):
            visit(depth)
        leaf += element.type is not None

    visit(0)
    return found


def _has_optional_keys(elements: Sequence[AnnotatedElement]) -> bool:
    """Return whether an element is a map whose keys are optional; its entries and key follow it."""
    if len(elements) < len(("map", "entries", "key")):
        return False
    group, entries, key = elements
    is_map = group.converted_type in (_MAP, _MAP_KEY_VALUE) or (
        group.logicalType is not None and group.logicalType.MAP is not None
    )
    return bool(
        is_map
        and (group.num_children, entries.num_children) == (1, _ENTRY)
        and group.repetition_type != _REPEATED
        and entries.repetition_type == _REPEATED
        and key.repetition_type == _OPTIONAL
    )


class MapColumns:
    """The columns of one file that are maps, or have them within, and were read as lists."""

    def __init__(self, schema: pa.Schema, places: frozenset[_Place]) -> None:
        """Find the columns by the file's schema, maps as lists, and the places of the maps."""
        self._places = places
        self._leaves_by_field = leaves_by_field(schema)
        self._fields = fields_with(self._leaves_by_field, {first for first, _ in places})

    def as_map_types(self, schema: pa.Schema) -> pa.Schema:
        """Return the file's schema with maps as maps."""
        for number in self._fields:
            field = schema.field(number)
            kind = self._type(field.type, self._leaves_by_field[number].start)
            schema = schema.set(number, field.with_type(kind))
        return schema

    def as_maps(self, batch: pa.RecordBatch, leaves: range | None) -> pa.RecordBatch:
        """Return a batch with maps as maps; ``leaves`` are those that it has, by default all.

        Raises:
            RefusedValueError: A key is null.
        """

        def change(number: int, name: str, column: pa.Array) -> pa.Array:
            kind = self._type(column.type, self._leaves_by_field[number].start)
            _check_keys(name, column, kind)
            return schemas.retyped(column, kind)

        return with_fields(batch, self._fields, fields_there(self._leaves_by_field, leaves), change)

    def _type(self, kind: pa.DataType, leaf: int, depth: int = 0) -> pa.DataType:
        """Return a type with maps as maps; ``leaf`` is the index of its first leaf column."""
        is_map = (leaf, depth) in self._places and _has_entries(kind)
        inside = depth if isinstance(kind, pa.StructType) else depth + 1

        def with_maps(found: pa.DataType) -> pa.DataType:
            nonlocal leaf
            changed = self._type(found, leaf, inside)
            leaf += count_leaves(found)
            return changed

        changed = schemas.with_inner(kind, with_maps)
        return pa.map_(*(field.type for field in changed.value_type)) if is_map else changed


def _has_entries(kind: pa.DataType) -> bool:
    """Return whether a type is laid out like a map; a hostile footer may have two schemas."""
    if not isinstance(kind, pa.ListType):
        return False
    return isinstance(kind.value_type, pa.StructType) and kind.value_type.num_fields == _ENTRY


def _check_keys(name: str, column: pa.Array, kind: pa.DataType) -> None:
    """Check the keys of all lists that are to be maps; ``kind`` has those as maps.

    Raises:
        RefusedValueError: One is null.
    """
    # pyarrow ends the process if keys of a map are null, also in a part of an array that is not in
    # use. So all there is is looked at; what other batches have in it belongs to the same object.
    if isinstance(kind, pa.MapType) and column.values.field(0).null_count:
        raise RefusedValueError(f"column {name!r} has a map with a key that is null")
    if not pa.types.is_nested(kind):
        return
    if isinstance(kind, pa.StructType):
        inner = [column.field(number) for number in range(kind.num_fields)]
    else:
        inner = [column.values]
    for number, each in enumerate(inner):
        _check_keys(name, each, kind.field(number).type)
