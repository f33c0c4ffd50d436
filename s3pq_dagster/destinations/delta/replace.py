"""Removing the rows of some objects from data files, by writing the other rows to new files."""

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
    """Rewrite the data files that hold rows of some objects, without these rows.

    Args:
        keys: Keys of the objects whose rows go.
        files: The table's data files; they are left as they are.
        schema: The table's columns as they are stored.
        reading: Reads the files.
        stage: Gets the rows that stay; it is finished afterwards.

    Returns:
        The files that ``stage`` replaces, and the number of rows left out.
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
