"""The columns that a key makes: names, types and values."""

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from s3pq_dagster.layout.value_types import TEXT, ValueType

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
"""What Hive and Spark write as the value of a partition whose column is null."""
_WIDTH = 16
"""Bytes of the widest value that is not text, and of a text's place in its column."""
_SEGMENT = re.compile(r"([^/=]+)=([^/]*)")
_PERCENT = re.compile("(?:%[0-9A-Fa-f]{2})+")


class KeyColumnError(ValueError):
    """A key has no value for a column that its table's layout makes of it."""


@dataclass(frozen=True, slots=True)
class RawColumn:
    """What a key says of a column, before it is read."""

    name: str
    text: str | None
    """The text; ``None`` is NULL."""
    type: ValueType = TEXT
    is_hive: bool = False
    """Whether it comes from a ``key=value`` segment."""


@dataclass(frozen=True, slots=True)
class KeyColumn:
    """A column whose value is the same in all rows of an object."""

    name: str
    type: pa.DataType
    value: Any

    @property
    def width(self) -> int:
        """About the bytes that the value takes in a row."""
        return _WIDTH + (len(self.value.encode()) if isinstance(self.value, str) else 0)

    def repeated(self, rows: int) -> pa.Array:
        """Return the column of so many rows."""
        return pa.repeat(pa.scalar(self.value, self.type), rows)


def missing_in(schema: pa.Schema, columns: Iterable[KeyColumn]) -> list[KeyColumn]:
    """Return the columns that a file has not itself: what is in a file counts.

    Names that differ only by the case of ASCII letters are one name, as they are in destinations.
    """
    own = {_folded(name) for name in schema.names}
    return [column for column in columns if _folded(column.name) not in own]


def with_columns(schema: pa.Schema, columns: Iterable[KeyColumn]) -> pa.Schema:
    """Append key columns to the schema of a file."""
    return pa.schema([*schema, *(pa.field(each.name, each.type) for each in columns)])


def hive_segments(segments: str) -> list[tuple[str, str | None]]:
    """Return name and text of each ``key=value`` segment, in order; other segments are left out.

    A value's ``%XX`` are decoded once, as Hive and Spark encode it; what they do not make UTF-8 of
    stays as it is. Hive's name for null is ``None``.
    """
    found = (_SEGMENT.fullmatch(segment) for segment in segments.split("/"))
    return [(each[1], decoded(each[2])) for each in found if each is not None]


def decoded(text: str) -> str | None:
    """Return the text of a segment's value, as :func:`hive_segments` does."""
    return None if text == HIVE_NULL else _PERCENT.sub(_character, text)


def _character(found: re.Match[str]) -> str:
    try:
        return bytes.fromhex(found[0].replace("%", "")).decode()
    except UnicodeDecodeError:
        return found[0]


def read_columns(raw: Iterable[RawColumn], taken: Iterable[str] = ()) -> list[KeyColumn]:
    """Give each column its value.

    Args:
        raw: What the key says, in order.
        taken: Names that no key column may have, in any case of ASCII letters.

    Raises:
        KeyColumnError: A name comes twice or is taken, or a text is no value of its type.
    """
    columns: list[KeyColumn] = []
    names = {_folded(name) for name in taken}
    seen: set[str] = set()
    for each in raw:
        folded = _folded(each.name)
        if folded in names:
            raise KeyColumnError(
                f"its key has a column {each.name!r}, which is a name of this package's own columns"
            )
        if folded in seen:
            raise KeyColumnError(f"its key has column {each.name!r} twice")
        seen.add(folded)
        columns.append(KeyColumn(each.name, each.type.arrow, _value(each)))
    return columns


def _value(raw: RawColumn) -> Any:
    if raw.text is None or (raw.is_hive and not raw.text and raw.type is not TEXT):
        return None
    try:
        return raw.type.parse(raw.text)
    except (ValueError, OverflowError) as error:
        raise KeyColumnError(
            f"its key gives column {raw.name!r} the value {raw.text[:100]!r}, which is no "
            f"{raw.type.name}: {error}"
        ) from None


@functools.lru_cache(maxsize=4096)
def _folded(name: str) -> str:
    """Fold ASCII letters only, as destinations compare names."""
    return re.sub("[A-Z]+", lambda found: found[0].lower(), name)
