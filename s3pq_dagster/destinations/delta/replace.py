"""Rows of some objects taken out of the files they are in, without touching a file."""

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from s3pq_dagster.destinations.delta.data_files import DataFiles
from s3pq_dagster.destinations.delta.stage import Stage
from s3pq_dagster.destinations.delta.version import DataFile
from s3pq_dagster.schemas import KEY_COLUMN


def rewrite_without(
    keys: Iterable[str],
    files: Sequence[DataFile],
    *,
    schema: pa.Schema,
    reading: DataFiles,
    stage: Stage,
) -> tuple[list[DataFile], int]:
    """Write the other rows of the files that hold rows of some objects anew.

    Args:
        keys: Of the objects.
        files: Of the table.
        schema: Of the table.
        reading: Reads them.
        stage: Gets the rows that stay, and is finished.

    Returns:
        The files whose rows are gone or in ``stage`` now, and the number of rows that are gone.
    """
    wanted = sorted(keys)
    removed = []
    gone = 0
    for file in [each for each in files if each.may_hold(wanted)]:
        found = sum(count for _, count in reading.rows_by_key([file], wanted))
        if found:
            removed.append(file)
            gone += found
            if found < reading.rows(file):
                stage.write(_others(wanted, reading.batches(file, schema)))
    stage.finish()
    return removed, gone


def _others(keys: Sequence[str], batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    wanted = pa.array(keys, pa.string())
    for batch in batches:
        yield batch.filter(pc.invert(pc.is_in(batch.column(KEY_COLUMN), wanted)))
