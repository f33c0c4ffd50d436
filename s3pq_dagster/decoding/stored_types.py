"""Columns that are stored as another type than their annotation allows.

pyarrow refuses such a file without the name of the column, or ignores the annotation: then a
decimal would lose its scale, and a date would be a number.
"""

from collections.abc import Collection

from s3pq_dagster.decoding.checked_batch import RefusedValueError
from s3pq_dagster.decoding.thrift_structs import FOOTER_SCHEMA, AnnotatedElement

WRONGLY_STORED = ("can only annotate", "Invalid FIXED_LEN_BYTE_ARRAY length")
"""What pyarrow says of such a file; it does not name the column."""
_PHYSICAL = (
    "BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY",
)  # fmt: skip
"""The physical types in the order of their numbers in parquet.thrift."""
_INT32, _INT64, _BYTE_ARRAY, _FIXED = 1, 2, 6, 7
_STORED_AS = {
    0: ("UTF8", _BYTE_ARRAY),
    4: ("ENUM", _BYTE_ARRAY),
    6: ("DATE", _INT32),
    7: ("TIME_MILLIS", _INT32),
    8: ("TIME_MICROS", _INT64),
    9: ("TIMESTAMP_MILLIS", _INT64),
    10: ("TIMESTAMP_MICROS", _INT64),
    11: ("UINT_8", _INT32),
    12: ("UINT_16", _INT32),
    13: ("UINT_32", _INT32),
    14: ("UINT_64", _INT64),
    15: ("INT_8", _INT32),
    16: ("INT_16", _INT32),
    17: ("INT_32", _INT32),
    18: ("INT_64", _INT64),
    19: ("JSON", _BYTE_ARRAY),
    20: ("BSON", _BYTE_ARRAY),
    21: ("INTERVAL", _FIXED),
}
"""Name and physical type of each converted type by its number, where there is only one."""


_NOT_TO_IGNORE = ("DECIMAL", "DATE", "TIME", "TIMESTAMP")
"""Logical types without which a stored number is another value."""


def check_ignored(footer: bytes, leaves: Collection[int]) -> None:
    """Check that pyarrow ignores no annotation without which a column has other values.

    Args:
        footer: The footer.
        leaves: Indices of the leaf columns of which pyarrow ignores the annotation.

    Raises:
        RefusedValueError: It does; the column is named.
        NoStructError: There is no footer in the bytes.
        EOFError: The footer is cut short.
    """
    elements = (found for found, _, _ in AnnotatedElement.parse_list(footer, FOOTER_SCHEMA))
    columns = [found for found in elements if found.type is not None and not found.num_children]
    for leaf in leaves:
        logical = columns[leaf].logicalType
        for annotation in _NOT_TO_IGNORE:
            if logical is not None and getattr(logical, annotation) is not None:
                name = (columns[leaf].name or b"").decode(errors="replace")
                msg = (
                    f"column {name!r} is annotated as {annotation} and stored as "
                    f"{_PHYSICAL[columns[leaf].type]}, in a way that the format does not allow. "
                    f"Without the annotation it could be read"
                )
                raise RefusedValueError(msg)


def check_stored_types(footer: bytes) -> None:
    """Check that the columns are stored as their annotations allow.

    Raises:
        RefusedValueError: One is not; it is named.
        NoStructError: There is no footer in the bytes.
        EOFError: The footer is cut short.
    """
    for element, _, _ in AnnotatedElement.parse_list(footer, FOOTER_SCHEMA):
        if element.type is None or not 0 <= element.type < len(_PHYSICAL):
            continue
        name = (element.name or b"").decode(errors="replace")
        stored = _PHYSICAL[element.type]
        if element.type == _FIXED and (element.type_length or 0) <= 0:
            msg = f"column {name!r} has values of fixed size, and a size of {element.type_length}"
            raise RefusedValueError(msg)
        annotation, wanted = _STORED_AS.get(element.converted_type, ("", element.type))
        if wanted != element.type:
            msg = (
                f"column {name!r} is annotated as {annotation} and stored as {stored}, and the "
                f"format stores it as {_PHYSICAL[wanted]}. Without the annotation it could be read"
            )
            raise RefusedValueError(msg)
