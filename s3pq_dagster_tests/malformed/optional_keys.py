"""Parquet files with maps whose keys are optional, as Hive and Athena wrote them."""

from typing import Any

import pyarrow as pa
from thrift.Thrift import TType

from s3pq_dagster.decoding.thrift_structs import (
    FOOTER_SCHEMA,
    AnnotatedElement,
    FileMetaData,
    LogicalType,
    MapType,
)
from s3pq_dagster_tests.buckets import parquet
from s3pq_dagster_tests.malformed.crafted import OPTIONAL, REPEATED, file_of

ANNOTATIONS: dict[str, dict[str, Any]] = {
    "MAP": {"converted_type": 1},
    "MAP_KEY_VALUE": {"converted_type": 2},
    "MAP, as a logical type only": {"logicalType": LogicalType(MAP=MapType())},
}
"""The ways to call a group a map."""
_LIST = 3


class _Footer(FileMetaData):
    """The footer, with annotations."""

    thrift_spec = (
        *FileMetaData.thrift_spec[:FOOTER_SCHEMA],
        (
            FOOTER_SCHEMA,
            TType.LIST,
            "schema",
            (TType.STRUCT, [AnnotatedElement, AnnotatedElement.thrift_spec], False),
            None,
        ),
        *FileMetaData.thrift_spec[FOOTER_SCHEMA + 1 :],
    )


def entries(key: pa.DataType, value: pa.DataType) -> pa.DataType:
    """Return the type of a list that :func:`with_optional_keys` makes a map."""
    entry = pa.struct([("key", key), ("value", value)])
    return pa.list_(pa.field("element", entry, nullable=False))


def with_optional_keys(table: pa.Table, annotation: str = "MAP", **options: Any) -> bytes:
    """Write a table whose lists of :func:`entries` are called maps; the keys may be null."""
    body = parquet(table, store_schema=False, **options)
    length = int.from_bytes(body[-8:-4], "little")
    footer, _ = _Footer.parse(body[-8 - length : -8])
    found, schema = footer.schema, []
    for element in found:  # the structs here know no other logical type than MAP
        is_map = element.logicalType is not None and element.logicalType.MAP is not None
        element.logicalType = LogicalType(MAP=MapType()) if is_map else None
    while found:
        if _is_list_of_entries(found[:3]):
            group, _, entry = found[:3]
            map_ = {"name": group.name, "repetition_type": OPTIONAL, "num_children": 1}
            schema.append(AnnotatedElement(**map_, **ANNOTATIONS[annotation]))
            entry.name, entry.repetition_type, entry.converted_type = "key_value", REPEATED, 2
            found = found[2:]
        schema.append(found[0])
        found = found[1:]
    footer.schema = schema
    return file_of(body[4 : -8 - length], footer.dump())


def _is_list_of_entries(elements: list[AnnotatedElement]) -> bool:
    if len(elements) < 3 or elements[0].converted_type != _LIST:
        return False
    return (elements[2].repetition_type, elements[2].num_children) == (0, 2)
