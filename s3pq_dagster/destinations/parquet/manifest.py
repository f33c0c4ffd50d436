"""A table's ledger as one Parquet file: its entries as rows, the table's facts beside them."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from s3pq_dagster import schemas
from s3pq_dagster.destinations.ledger_rows import (
    OBJECT_COLUMNS,
    TABLE_COLUMNS,
    as_ledger,
    entries_after,
    entries_removed,
    loaded_already,
)
from s3pq_dagster.destinations.parquet.paths import file_name, new_id
from s3pq_dagster.destinations.table_errors import check_version, loaded_meanwhile
from s3pq_dagster.destinations.table_state import Commit, Owner
from s3pq_dagster.ledger import FORMAT_VERSION, Ledger, Status

COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    **OBJECT_COLUMNS,
    "file": pl.String,
    "file_id": pl.String,
}
"""Those of ``_s3pq_objects``, and what holds an object's rows: the file's name and its mark."""
_REPEATED = ["table_name", "bucket", "prefix", "status", "reason", "run_id", "loaded_at"]
"""Columns whose values are few; looking for repetition in the others takes half the time."""
_KEY = b"s3pq"
_IS_LOADED = pl.col("status") == Status.LOADED


@dataclass(frozen=True, slots=True)
class Facts:
    """What is true of a table as a whole."""

    bucket: str
    prefix: str
    schema: pa.Schema | None = None
    schema_key: str | None = None
    fingerprint: str | None = None
    cursor: datetime | None = None
    updated_at: datetime | None = None

    def after(self, sealed: Commit, schema: pa.Schema | None, schema_key: str | None) -> "Facts":
        """Take over what a commit says; a schema only if there is none yet."""
        known = self.schema is not None
        return replace(
            self,
            schema=self.schema if known or schema is None else schema.remove_metadata(),
            schema_key=self.schema_key if known or schema is None else schema_key,
            fingerprint=sealed.fingerprint or self.fingerprint,
            cursor=sealed.cursor,
            updated_at=datetime.now(UTC),
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """A table's ledger and facts at one moment."""

    table: str
    facts: Facts
    frame: pl.DataFrame
    """Of :data:`COLUMNS`."""
    version: str | None = None
    """Which the storage gave to its file; ``None`` as long as it is in none."""

    @classmethod
    def new(cls, owner: Owner, version: str | None = None) -> "Manifest":
        """Be the ledger of a table that is loaded for the first time, or anew."""
        frame = pl.DataFrame(schema=COLUMNS)
        return cls(owner.table, Facts(owner.bucket, owner.prefix), frame, version)

    @property
    def ledger(self) -> Ledger:
        """What every destination's ledger is."""
        return as_ledger(self.frame)

    @property
    def files(self) -> pl.DataFrame:
        """Give ``key``, ``rows``, ``file`` and ``file_id`` of what is loaded, in loading order."""
        return self.frame.filter(_IS_LOADED).select("key", "rows", "file", "file_id")

    def entered(self, new: pl.DataFrame, *, append: bool) -> "Manifest":
        """Be this with more entries.

        Args:
            new: As :func:`with_files` gave them.
            append: Whether earlier versions' rows stay.

        Raises:
            DestinationError: One of its objects is loaded already.
        """
        if again := loaded_already(self.frame, new):
            raise loaded_meanwhile(self.table, again)
        return replace(self, frame=entries_after(self.frame, new, append=append))

    def stating(
        self, sealed: Commit, schema: pa.Schema | None = None, schema_key: str | None = None
    ) -> "Manifest":
        """Be this with the facts that a commit states."""
        return replace(self, facts=self.facts.after(sealed, schema, schema_key))

    def removed(self, keys: Sequence[str], run_id: str) -> tuple["Manifest", int]:
        """Be this with the entries of some keys marked as removed; also give how many rows go."""
        frame, rows = entries_removed(self.frame, keys, run_id)
        held = [pl.when(_IS_LOADED).then(pl.col(name)).alias(name) for name in ("file", "file_id")]
        return replace(self, frame=frame.with_columns(held)), rows

    def encoded(self) -> bytes:
        """Write it as a Parquet file."""
        rows = self.frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        facts = {
            "format_version": FORMAT_VERSION,
            "commit": new_id(),  # no two manifests are the same bytes
            **self._row(),
        }
        rows = rows.replace_schema_metadata({_KEY: json.dumps(facts, default=_plain).encode()})
        return _file_of(rows)

    def report(self) -> bytes:
        """Write its facts as a Parquet file of one row, with the columns of ``_s3pq_tables``."""
        row = self._row() | {"table_name": self.table, "format_version": FORMAT_VERSION}
        frame = pl.DataFrame([row], schema=TABLE_COLUMNS, orient="row")
        return _file_of(frame.to_arrow(compat_level=pl.CompatLevel.oldest()))

    def _row(self) -> dict[str, Any]:
        facts = self.facts
        return {
            "bucket": facts.bucket,
            "prefix": facts.prefix,
            "arrow_schema": None if facts.schema is None else schemas.to_bytes(facts.schema),
            "schema_key": facts.schema_key,
            "fingerprint": facts.fingerprint,
            "cursor": facts.cursor,
            "updated_at": facts.updated_at,
        }


def decoded(table: str, content: bytes, version: str) -> Manifest:
    """Read what :meth:`Manifest.encoded` wrote.

    Raises:
        LedgerVersionError: A newer release wrote it.
        ValueError: It is damaged, or something else.
    """
    rows = pq.read_table(
        pa.BufferReader(content), page_checksum_verification=True, use_threads=False
    )
    metadata = rows.schema.metadata or {}
    if _KEY not in metadata:
        msg = "it is not a ledger of ours"
        raise ValueError(msg)
    facts = json.loads(metadata[_KEY])
    check_version(facts["format_version"])
    frame = pl.from_arrow(rows.replace_schema_metadata(None))
    assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a table gives a frame
    schema = facts["arrow_schema"]
    return Manifest(
        table,
        Facts(
            facts["bucket"],
            facts["prefix"],
            None if schema is None else schemas.from_bytes(base64.b64decode(schema)),
            facts["schema_key"],
            facts["fingerprint"],
            _moment(facts["cursor"]),
            _moment(facts["updated_at"]),
        ),
        frame.select(pl.col(name).cast(kind) for name, kind in COLUMNS.items()),
        version,
    )


def with_files(
    entries: pl.DataFrame, file_ids: dict[str, str], taken: pl.DataFrame | None
) -> pl.DataFrame:
    """Say of entries which file holds their rows.

    Args:
        entries: With the columns of ``_s3pq_objects``.
        file_ids: By key, of what is loaded.
        taken: ``key`` and ``file`` of the objects that have a file already, whose place the new
            one is to take; ``None`` if none is to.
    """
    ids = [
        file_ids[key] if status == Status.LOADED else None
        for key, status in entries.select("key", "status").iter_rows()
    ]
    fresh = [
        None if file_id is None else file_name(key, file_id)
        for key, file_id in zip(entries["key"], ids, strict=True)
    ]
    made = entries.with_columns(
        pl.Series("file", fresh, pl.String), pl.Series("file_id", ids, pl.String)
    )
    if taken is None or taken.is_empty():
        return made
    mine = taken.join(made.select("key"), on="key", how="semi")  # a few of perhaps a million
    old = mine.unique("key", keep="first").select("key", pl.col("file").alias("old"))
    reused = pl.when(_IS_LOADED).then(pl.coalesce("old", "file")).alias("file")
    joined = made.join(old, on="key", how="left", maintain_order="left")
    return joined.with_columns(reused).select(list(COLUMNS))


def _file_of(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(
        rows,
        sink,
        compression="zstd",
        use_dictionary=_REPEATED,
        write_page_checksum=True,
    )
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def _plain(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    assert isinstance(value, datetime)  # noqa: S101 - all there is
    return value.isoformat()


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
