"""Statistics of a data file in the log, by which engines skip files.

"Per-file Statistics" in the Delta protocol. A bound that is too narrow would hide rows; in doubt
there is none. https://github.com/delta-io/delta/blob/master/PROTOCOL.md#per-file-statistics
"""

import datetime as dt
import json
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from s3pq_dagster.schemas import KEY_COLUMN

_COLUMNS = 32
"""Delta's own default."""
_LONGEST = 256
_MILLISECOND = dt.timedelta(milliseconds=1)
Bounds = tuple[Any, Any]


def stats(schema: pa.Schema, metadata: pq.FileMetaData) -> tuple[str, Bounds]:
    """Sum up the statistics of a file's row groups.

    Args:
        schema: The file's columns.
        metadata: The file's footer.

    Returns:
        The statistics as JSON, and the bounds of ``_s3_key``, if they are known.
    """
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for field, index in _flat(schema):
        found = [metadata.row_group(n).column(index) for n in range(metadata.num_row_groups)]
        each = [chunk.statistics for chunk in found]
        if not all(s is not None and s.has_null_count for s in each):
            continue
        nulls[field.name] = sum(s.null_count for s in each)
        bounds = _bounds(field, (s for s in each if s.null_count < s.num_values + s.null_count))
        if bounds is not None:
            low[field.name], high[field.name] = bounds
    said = {
        "numRecords": metadata.num_rows,
        "minValues": low,
        "maxValues": high,
        "nullCount": nulls,
    }
    return json.dumps(said), (low.get(KEY_COLUMN), high.get(KEY_COLUMN))


def _flat(schema: pa.Schema) -> Iterator[tuple[pa.Field, int]]:
    """Pair each column that is not nested with its number among the file's leaf columns."""
    leaf = 0
    for number, field in enumerate(schema):
        if not pa.types.is_nested(field.type) and (number < _COLUMNS or field.name == KEY_COLUMN):
            yield field, leaf
        leaf += _leaves(field.type)


def _leaves(kind: pa.DataType) -> int:
    if not pa.types.is_nested(kind):
        return 1
    return sum(_leaves(kind.field(index).type) for index in range(kind.num_fields))


def _bounds(field: pa.Field, each: Iterable[Any]) -> Bounds | None:
    """Return the bounds as JSON writes them; ``None`` if they may not be exact.

    Floating point has none, since engines do not agree on the order of NaN.
    """
    kind = field.type
    types = pa.types
    try:
        pairs: list[Bounds] = [(s.min, s.max) if s.has_min_max else (None, None) for s in each]
    except (OverflowError, ValueError):  # before year 1 or after 9999
        return None
    if not pairs or any(low is None for low, _ in pairs):
        return None
    low: Any = min(low for low, _ in pairs)
    high: Any = max(high for _, high in pairs)
    if types.is_integer(kind):
        return low, high
    if types.is_string(kind):
        longest = max(len(low), len(high))
        return (low, high) if field.name == KEY_COLUMN or longest <= _LONGEST else None
    if types.is_date32(kind):
        return low.isoformat(), high.isoformat()
    if types.is_timestamp(kind):
        return _timestamps(low, high, zone="Z" if kind.tz else "")
    return None


def _timestamps(low: dt.datetime, high: dt.datetime, zone: str) -> Bounds | None:
    """Round times outward to whole milliseconds, to which the protocol truncates them."""
    try:
        high += _MILLISECOND
    except OverflowError:
        return None
    written = [
        f"{each:%Y-%m-%dT%H:%M:%S}.{each.microsecond // 1000:03}{zone}" for each in (low, high)
    ]
    if low.year < 1000:  # noqa: PLR2004 - strftime writes no leading zeros
        return None
    return written[0], written[1]
