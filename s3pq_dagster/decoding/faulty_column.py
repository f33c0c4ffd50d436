"""Which column of a row group cannot be decoded: pyarrow's errors do not say."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from s3pq_dagster.decoding.checked_batch import RefusedValueError
from s3pq_dagster.decoding.leaf_columns import fields_there, leaves_by_field

_LEAST_SECONDS = 1


@contextmanager
def naming_the_column(
    file: pq.ParquetFile, group: int, rows_at_a_time: int, leaves: range | None
) -> Iterator[None]:
    """Name the column in an error that pyarrow raises for a page; other errors are left alone.

    The columns are decoded once more, one by one, until one fails. That takes at most as long as
    decoding took before; if no column was found until then, the error stays as it is.

    Raises:
        RefusedValueError: The column cannot be decoded.
    """
    started = time.monotonic()
    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        if isinstance(error, OSError) and error.errno:  # of this machine
            raise
        until = time.monotonic() + max(_LEAST_SECONDS, time.monotonic() - started)
        name = _first_faulty(file, group, rows_at_a_time, leaves, until)
        if name is None:
            raise
        raise RefusedValueError(f"column {name!r} cannot be decoded: {error}") from error


def _first_faulty(
    file: pq.ParquetFile, group: int, rows_at_a_time: int, leaves: range | None, until: float
) -> str | None:
    schema = file.schema_arrow
    leaves_of = leaves_by_field(schema)
    for number in fields_there(leaves_of, leaves):
        each = leaves_of[number]
        try:
            for _ in file.reader.iter_batches(rows_at_a_time, [group], each, False):  # noqa: FBT003
                if time.monotonic() > until:
                    return None
        except (OSError, pa.ArrowInvalid):
            return str(schema.names[number])
    return None
