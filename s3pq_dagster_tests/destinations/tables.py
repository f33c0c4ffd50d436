"""Rows, ledger entries and streams to write through the destination protocol."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest

from s3pq_dagster.destinations.protocol import Destination, TableWriter
from s3pq_dagster.destinations.table_state import Commit, Owner
from s3pq_dagster.errors import DestinationError, UndoRefusedError
from s3pq_dagster.ledger import Entry, Status
from s3pq_dagster.loading.undo import find_undo
from s3pq_dagster.objects import ObjectMeta

OWNER = Owner("orders", "lake", "orders/")
SCHEMA = pa.schema([("id", pa.int64()), ("text", pa.string()), ("_s3_key", pa.string())])


class BrokenOffError(Exception):
    """The error that a broken stream raises."""


BROKEN = (BrokenOffError, DestinationError)
"""The errors a broken stream can surface as: some drivers keep only an exception's text."""


def batch(key: str, count: int, start: int = 0) -> pa.RecordBatch:
    """Make a batch of one object's rows, with ids from ``start``."""
    ids = list(range(start, start + count))
    columns = [ids, [f"row {i}" for i in ids], [key] * count]
    return pa.record_batch(
        [pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


def stream(*batches: pa.RecordBatch, break_at: int | None = None) -> pa.RecordBatchReader:
    """Stream batches; with ``break_at``, raise before that batch, or after the last."""

    def generate() -> Iterator[pa.RecordBatch]:
        for number, each in enumerate(batches):
            if number == break_at:
                raise BrokenOffError
            yield each
        if break_at is not None and break_at >= len(batches):
            raise BrokenOffError

    schema = batches[0].schema if batches else SCHEMA
    return pa.RecordBatchReader.from_batches(schema, generate())


def sealed(*entries: Entry, cursor: datetime | None = None) -> Commit:
    """Make the commit that enters these entries into the ledger."""
    return Commit(entries, cursor, "fingerprint")


def loaded(found: ObjectMeta, rows: int) -> Entry:
    """Make the ledger entry of a loaded object."""
    return Entry(found, Status.LOADED, rows)


def commit(writer: TableWriter, *objects: tuple[ObjectMeta, int], start: int = 0) -> None:
    """Commit objects with their number of rows as one checkpoint; ids begin at ``start``."""
    batches = [batch(found.key, rows, start) for found, rows in objects]
    entries = [loaded(found, rows) for found, rows in objects]
    writer.commit(stream(*batches), schema_key=objects[0][0].key, seal=lambda: sealed(*entries))


def write(
    destination: Destination, *, append: bool = False, refresh: bool | Sequence[str] = False
) -> Any:
    """Open the table ``orders`` for writing."""
    return destination.write(OWNER, run_id="run", append=append, refresh=refresh)


def load(
    destination: Destination,
    *objects: tuple[ObjectMeta, int],
    owner: Owner = OWNER,
    append: bool = False,
    refresh: bool = False,
    start: int = 0,
) -> None:
    """Load objects in one checkpoint."""
    with destination.write(owner, run_id="run", append=append, refresh=refresh) as writer:
        commit(writer, *objects, start=start)


def rows(
    destination: Destination, table: str = OWNER.table, columns: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Read a table's rows, sorted."""
    with destination.read(table, columns) as reader:
        found: list[dict[str, Any]] = reader.read_all().to_pylist()
    return sorted(found, key=lambda row: [repr(value) for value in row.values()])


def ids_by_key(destination: Destination, table: str = OWNER.table) -> dict[str, list[int]]:
    """Return the ids of each object's rows, sorted."""
    by_key: dict[str, list[int]] = {}
    for row in rows(destination, table, ["_s3_key", "id"]):
        by_key.setdefault(row["_s3_key"], []).append(row["id"])
    return {key: sorted(ids) for key, ids in by_key.items()}


def entries(destination: Destination, owner: Owner = OWNER) -> list[tuple[str, str | None, str]]:
    """Return key, e_tag and status of a table's ledger entries, sorted."""
    frame = destination.state(owner).ledger.frame
    return sorted(frame.select("key", "e_tag", "status").rows(), key=repr)


def check_undo_is_refused(
    destination: Destination, owner: Owner = OWNER, run_id: str | None = None
) -> None:
    """Check that a load of an older release, by default that of any entry, is not taken back."""
    found = destination.entries(owner)
    first = found.filter(found["refreshed"].is_null())["run_id"][0]
    with pytest.raises(UndoRefusedError, match="whose ledger does not say"):
        find_undo(found, owner.table, run_id or first)
