"""A table's manifest: a Parquet file with its ledger entries, and its facts as metadata."""

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
    as_entries,
    as_ledger,
    entries_after,
    entries_removed,
    loaded_already,
)
from s3pq_dagster.destinations.parquet.paths import file_name, new_id
from s3pq_dagster.destinations.parquet.schema_versions import (
    Versions,
    version_rows,
    versions_of,
    with_version,
)
from s3pq_dagster.destinations.table_errors import check_version, loaded_meanwhile
from s3pq_dagster.destinations.table_state import Commit, Owner
from s3pq_dagster.ledger import FORMAT_VERSION, Ledger, Status

COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    **OBJECT_COLUMNS,
    "file": pl.String,
    "file_id": pl.String,
}
"""The columns of ``_s3pq_objects``, then name and id of the file with the object's rows."""
_REPEATED = ["table_name", "bucket", "prefix", "status", "reason", "run_id", "loaded_at"]
"""Columns with few different values. A dictionary for the others costs half the time of writing."""
_KEY = b"s3pq"
_IS_LOADED = pl.col("status") == Status.LOADED


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts of a table as a whole."""

    bucket: str
    prefix: str
    schema: pa.Schema | None = None
    schema_key: str | None = None
    fingerprint: str | None = None
    cursor: datetime | None = None
    updated_at: datetime | None = None
    layout: str | None = None
    versions: Versions = ()
    """The schemas that the table has had, the current one last."""

    def after_commit(
        self, sealed: Commit, schema: pa.Schema | None, schema_key: str | None
    ) -> "Facts":
        """Return the facts after a commit; the schema stays if none is given."""
        now = datetime.now(UTC)
        after = replace(
            self,
            fingerprint=sealed.fingerprint or self.fingerprint,
            cursor=sealed.cursor,
            updated_at=now,
        )
        if schema is None:
            return after
        schema = schema.remove_metadata()
        versions = with_version(self.versions, schema, schema_key, now)
        return replace(after, schema=schema, schema_key=schema_key, versions=versions)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A table's ledger and facts at one moment."""

    table: str
    facts: Facts
    frame: pl.DataFrame
    """The ledger entries, with the columns of :data:`COLUMNS`."""
    version: str | None = None
    """Version of its file in the storage; ``None`` before it is written."""
    format_version: int = FORMAT_VERSION
    """Format of the file that it was read from."""

    @classmethod
    def new(cls, owner: Owner, versions: Versions = ()) -> "Manifest":
        """Return the empty manifest of a table that is new, or is to be refreshed.

        Args:
            owner: The table.
            versions: The schemas that it has had before.
        """
        facts = Facts(owner.bucket, owner.prefix, versions=versions)
        return cls(owner.table, facts, pl.DataFrame(schema=COLUMNS))

    @property
    def ledger(self) -> Ledger:
        """The entries as a :class:`Ledger`."""
        return as_ledger(self.frame)

    @property
    def files(self) -> pl.DataFrame:
        """``key``, ``rows``, ``file`` and ``file_id`` of the loaded objects, in loading order."""
        return self.frame.filter(_IS_LOADED).select("key", "rows", "file", "file_id")

    def with_entries(self, new: pl.DataFrame, *, append: bool) -> "Manifest":
        """Return a copy with new entries, without those they replace.

        Args:
            new: Entries that :func:`assign_files` returned.
            append: Whether the rows of earlier versions of an object stay.

        Raises:
            DestinationError: A version of an object that is to be entered is loaded already.
        """
        if again := loaded_already(self.frame, new):
            raise loaded_meanwhile(self.table, again)
        return replace(self, frame=entries_after(self.frame, new, append=append))

    def with_facts(
        self, sealed: Commit, schema: pa.Schema | None = None, schema_key: str | None = None
    ) -> "Manifest":
        """Return a copy with the facts of a commit.

        Args:
            sealed: The commit.
            schema: The table's schema, if it is new or changed.
            schema_key: Key of the object that it comes from.
        """
        return replace(self, facts=self.facts.after_commit(sealed, schema, schema_key))

    def with_layout(self, layout: str | None) -> "Manifest":
        """Return a copy with the hash of a layout, if it is known."""
        return self if layout is None else replace(self, facts=replace(self.facts, layout=layout))

    def without(self, keys: Sequence[str]) -> "Manifest":
        """Return a copy without the entries of some keys."""
        return replace(self, frame=self.frame.filter(~pl.col("key").is_in(list(keys))))

    def with_removed(
        self, keys: Sequence[str], run_id: str, undone: str | None
    ) -> tuple["Manifest", int]:
        """Return a copy with the entries of some keys marked as removed, and their rows' number."""
        frame, rows = entries_removed(self.frame, keys, run_id, undone)
        held = [pl.when(_IS_LOADED).then(pl.col(name)).alias(name) for name in ("file", "file_id")]
        return replace(self, frame=frame.with_columns(held)), rows

    def encoded(self) -> bytes:
        """Encode the manifest as a Parquet file."""
        rows = self.frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        facts = {
            "format_version": FORMAT_VERSION,
            "commit": new_id(),  # no two manifests are the same bytes
            **self._row(),
            "schemas": [version.as_json() for version in self.facts.versions],
        }
        rows = rows.replace_schema_metadata({_KEY: json.dumps(facts, default=_plain).encode()})
        return _file_of(rows)

    def report(self) -> bytes:
        """Encode the facts as a Parquet file of one row, with the columns of ``_s3pq_tables``."""
        row = self._row() | {"table_name": self.table, "format_version": FORMAT_VERSION}
        frame = pl.DataFrame([row], schema=TABLE_COLUMNS, orient="row")
        return _file_of(frame.to_arrow(compat_level=pl.CompatLevel.oldest()))

    def schemas_report(self) -> bytes | None:
        """Encode the table's rows of ``_s3pq_schemas``; ``None`` if it never had a schema."""
        if not self.facts.versions:
            return None
        frame = version_rows(self.table, self.facts.versions)
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
            "layout": facts.layout,
        }


def decoded(table: str, content: bytes, version: str) -> Manifest:
    """Decode a file that :meth:`Manifest.encoded` wrote.

    Raises:
        LedgerVersionError: A newer release wrote it.
        ValueError: It is no manifest.
        OSError: It is damaged; so are all other errors of pyarrow, polars and json.
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
            facts.get("layout"),  # format 1 has none
            versions_of(facts),
        ),
        as_entries(frame).with_columns(frame.select("file", "file_id").cast(pl.String)),
        version,
        facts["format_version"],
    )


def assign_files(
    entries: pl.DataFrame, file_ids: dict[str, str], taken: pl.DataFrame | None
) -> pl.DataFrame:
    """Add to entries the name and the id of the file that holds their rows.

    Args:
        entries: Entries with the columns of ``_s3pq_objects``.
        file_ids: The file's id by key, for loaded objects.
        taken: ``key`` and ``file`` of objects that have a file, whose name the new one takes over;
            ``None`` to give every file a new name.

    Returns:
        Entries with the columns of :data:`COLUMNS`.
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
