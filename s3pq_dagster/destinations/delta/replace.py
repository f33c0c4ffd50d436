"""Data files written anew: without the rows of some objects, or in other columns."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from s3pq_dagster.destinations.delta.data_files import DataFiles
from s3pq_dagster.destinations.delta.stage import Stage
from s3pq_dagster.destinations.delta.version import DataFile
from s3pq_dagster.destinations.delta.widen import StoredRows, rewriting
from s3pq_dagster.drift.changes import SchemaChanges
from s3pq_dagster.schemas import KEY_COLUMN


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What a stage with rewritten rows takes the place of."""

    removed: Sequence[DataFile]
    """Files whose rows go."""
    rows: int
    """Number of rows that are not in the stage."""
    is_whole: bool = False
    """Whether it takes the place of every file of the table instead."""


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


def rewrite_as(
    before: StoredRows, changes: SchemaChanges, keys: Iterable[str], stage: Stage
) -> int:
    """Rewrite all rows in other columns, without those of some objects.

    Args:
        before: The rows; their files are left as they are.
        changes: How the columns change.
        keys: Keys of the objects whose rows go.
        stage: Gets the rows that stay; it is finished afterwards.

    Returns:
        The number of rows left out.
    """
    wanted, columns, gone = sorted(keys), before.columns_after(changes), 0
    for file in before.files:
        for batch in before.rewritten(file, changes, columns):
            kept = next(_others(wanted, [batch])) if wanted else batch
            gone += batch.num_rows - kept.num_rows
            stage.write([kept])
    stage.finish()
    return gone


def rewrite_for(
    before: StoredRows, changes: SchemaChanges, keys: Iterable[str], stage: Stage
) -> Rewritten:
    """Rewrite what cannot stay beside new rows: files without some rows, or all for new columns.

    A commit can remove single files, or give the table columns, but not both.

    Args:
        before: What the table has.
        changes: How its columns change.
        keys: Keys of the objects whose rows go.
        stage: Gets the rows that stay; it is finished afterwards.
    """
    wanted, columns = set(keys), before.columns_after(changes)
    gains = len(columns) > len(before.there)
    if rewriting(changes) or (gains and wanted):
        gone = rewrite_as(before, changes, wanted, stage)
        return Rewritten([], gone, is_whole=True)
    if not wanted:
        return Rewritten([], 0)
    return Rewritten(
        *rewrite_without(wanted, before.files, schema=columns, reading=before.reading, stage=stage)
    )


def _others(keys: Sequence[str], batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    wanted = pa.array(keys, pa.string())
    for batch in batches:
        yield batch.filter(pc.invert(pc.is_in(batch.column(KEY_COLUMN), wanted)))
