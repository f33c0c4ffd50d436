"""Intents: files with the ledger entries of a change, written before its rows are committed."""

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
from s3pq_dagster.destinations.ledger_rows import as_entries
from s3pq_dagster.destinations.storage.protocol import Storage
from s3pq_dagster.errors import DestinationError

INTENTS = "_s3pq_intents"
_META = b"s3pq"
_SPREAD = 1024
"""Random part of a number, so that two writers do not draw the same one at the same time."""
_SUFFIX = ".arrow"


@dataclass(frozen=True, slots=True)
class Intent:
    """A change of a table's ledger, and the number that tells whether it is committed."""

    number: int
    """Number in the commit of the rows: the change is committed once the table has it."""
    after: int | None
    """Number of the change before; ``None`` for the first."""
    upon: int | None
    """Version of the Delta table that the commit follows; ``None`` if there is no table."""
    in_table: bool
    """Whether a commit of the table goes with it. If not, the table does not exist, and the commit
    of ``_s3pq_objects`` carries the number."""
    change: Change


def next_number(last: int | None) -> int:
    """Return a number that no other change has, above the last one: about the time in ns."""
    drawn = time.time_ns() // _SPREAD * _SPREAD + random.randrange(_SPREAD)  # noqa: S311 - no secret
    return max(drawn, (last or 0) + 1)


class Intents:
    """The intents of one table."""

    def __init__(self, storage: Storage, table: str) -> None:
        self._storage = storage
        self._directory = f"{INTENTS}/{table}"

    def write(self, intent: Intent) -> None:
        """Write an intent durably."""
        self._storage.put(self._path(intent.number), _to_bytes(intent))
        self._storage.flush(self._directory)

    def numbers(self) -> list[int]:
        """List the numbers of the intents that exist, oldest first."""
        stems = [name.removesuffix(_SUFFIX) for name in self._storage.names(self._directory)]
        return sorted(int(stem) for stem in stems if stem.isdecimal())

    def read(self, number: int) -> Intent | None:
        """Read an intent; ``None`` if it does not exist.

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
        """Delete an intent that is applied, or void."""
        self._storage.delete([self._path(number)])

    def _path(self, number: int) -> str:
        return f"{self._directory}/{number}{_SUFFIX}"


def _to_bytes(intent: Intent) -> bytes:
    change = intent.change
    said = {
        "after": intent.after,
        "upon": intent.upon,
        "in_table": intent.in_table,
        "append": change.append,
        "refresh": change.refresh,
        "removed": list(change.removed),
        **({"again": list(change.again)} if change.again else {}),
        **({"undone": change.undone} if change.undone is not None else {}),
        "row": _plain_row(change.row),
        "versions": [_plain_row(each) for each in change.versions],
    }
    entries = change.entries.to_arrow().replace_schema_metadata({_META: json.dumps(said)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, entries.schema) as writer:
        writer.write_table(entries)
    return bytes(sink.getvalue())


def _plain_row(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _from_bytes(number: int, data: bytes) -> Intent:
    entries = pa.ipc.open_file(pa.py_buffer(data)).read_all()
    said = json.loads(entries.schema.metadata[_META])
    row = _restored_row({"layout": None} | said.pop("row"))  # format 1 has no layout
    versions = [_restored_row(each) for each in said.pop("versions", ())]
    facts = {name: said.pop(name) for name in ("after", "upon", "in_table")}
    frame = as_entries(pl.DataFrame(entries))
    return Intent(number, **facts, change=Change(frame, row, versions=versions, **said))


def _restored_row(row: dict[str, Any]) -> dict[str, Any]:
    for name in {"cursor", "updated_at", "changed_at"} & row.keys():
        row[name] = None if row[name] is None else datetime.fromisoformat(row[name])
    if row["arrow_schema"] is not None:
        row["arrow_schema"] = base64.b64decode(row["arrow_schema"])
    return row
