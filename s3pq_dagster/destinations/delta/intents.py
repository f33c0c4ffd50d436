"""What is to go into the ledger once the rows are committed, written down before they are."""

import base64
import json
import random
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl
import pyarrow as pa

from s3pq_dagster.destinations.delta.changes import Change
from s3pq_dagster.destinations.ledger_rows import OBJECT_COLUMNS
from s3pq_dagster.destinations.storage.protocol import Storage
from s3pq_dagster.errors import DestinationError

INTENTS = "_s3pq_intents"
_META = b"s3pq"
_SPREAD = 1024
"""Two writers that ask for a number at the same time get different ones."""
_SUFFIX = ".arrow"


@dataclass(frozen=True, slots=True)
class Intent:
    """One change of a table's ledger, and how to tell whether it is committed."""

    number: int
    """Which the commit of the rows carries: if the table has it, this is committed."""
    after: int | None
    """The number of the change before."""
    upon: int | None
    """The version of the Delta table that the commit is built upon; ``None`` if there is none."""
    in_table: bool
    """Whether rows go with it, or at least a commit of the table; if not, that of the ledger says
    whether this is committed."""
    change: Change


def next_number(last: int | None) -> int:
    """Make a number that nobody else has: the time in nanoseconds, or more."""
    drawn = time.time_ns() // _SPREAD * _SPREAD + random.randrange(_SPREAD)  # noqa: S311 - no secret
    return max(drawn, (last or 0) + 1)


class Intents:
    """The intents of one table."""

    def __init__(self, storage: Storage, table: str) -> None:
        self._storage = storage
        self._directory = f"{INTENTS}/{table}"

    def write(self, intent: Intent) -> None:
        """Write an intent down, durably."""
        self._storage.put(self._path(intent.number), _to_bytes(intent))
        self._storage.flush(self._directory)

    def numbers(self) -> list[int]:
        """List what is written down, oldest first."""
        stems = [name.removesuffix(_SUFFIX) for name in self._storage.names(self._directory)]
        return sorted(int(stem) for stem in stems if stem.isdecimal())

    def read(self, number: int) -> Intent | None:
        """Read an intent; ``None`` if it is not there.

        Raises:
            DestinationError: It is damaged.
        """
        found = self._storage.get(self._path(number))
        if found is None:
            return None
        try:
            return _from_bytes(number, found.content)
        except (pa.ArrowException, ValueError, KeyError) as error:
            msg = (
                f"{self._storage.root}/{self._path(number)} cannot be read: {error}. It says what "
                f"the last commit of its table loaded: put back a copy of it."
            )
            raise DestinationError(msg) from error

    def delete(self, number: int) -> None:
        """Forget an intent that is applied, or void."""
        self._storage.delete([self._path(number)])

    def _path(self, number: int) -> str:
        return f"{self._directory}/{number}{_SUFFIX}"


def _to_bytes(intent: Intent) -> bytes:
    change = intent.change
    row = {name: _plain(value) for name, value in change.row.items()}
    said = {
        "after": intent.after,
        "upon": intent.upon,
        "in_table": intent.in_table,
        "append": change.append,
        "refresh": change.refresh,
        "removed": list(change.removed),
        "row": row,
    }
    entries = change.entries.to_arrow().replace_schema_metadata({_META: json.dumps(said)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, entries.schema) as writer:
        writer.write_table(entries)
    return bytes(sink.getvalue())


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _from_bytes(number: int, data: bytes) -> Intent:
    entries = pa.ipc.open_file(pa.py_buffer(data)).read_all()
    said = json.loads(entries.schema.metadata[_META])
    row = said.pop("row")
    for name in ("cursor", "updated_at"):
        row[name] = None if row[name] is None else datetime.fromisoformat(row[name])
    if row["arrow_schema"] is not None:
        row["arrow_schema"] = base64.b64decode(row["arrow_schema"])
    facts = {name: said.pop(name) for name in ("after", "upon", "in_table")}
    frame = pl.DataFrame(entries, schema=pl.Schema(OBJECT_COLUMNS))
    return Intent(number, **facts, change=Change(frame, row, **said))
