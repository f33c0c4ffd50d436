"""The schemas that a table has had, as its manifest and its rows of ``_s3pq_schemas`` have them."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl
import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.destinations.ledger_rows import SCHEMA_COLUMNS


@dataclass(frozen=True, slots=True)
class SchemaVersion:
    """A schema of a table, since some commit. Version 1 is the table's first."""

    version: int
    arrow_schema: bytes
    """The schema as :func:`schemas.to_bytes` gives it: only the last one is ever asked for."""
    since_key: str | None
    changed_at: datetime

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> "SchemaVersion":
        """Build it from what :meth:`as_json` returned."""
        return cls(
            facts["version"],
            base64.b64decode(facts["arrow_schema"]),
            facts["since_key"],
            datetime.fromisoformat(facts["changed_at"]),
        )

    def as_json(self) -> dict[str, Any]:
        """Return what a manifest has of it."""
        return {
            "version": self.version,
            "arrow_schema": base64.b64encode(self.arrow_schema).decode(),
            "since_key": self.since_key,
            "changed_at": self.changed_at.isoformat(),
        }


Versions = tuple[SchemaVersion, ...]


def versions_of(facts: Mapping[str, Any]) -> Versions:
    """Return the schemas that a manifest has; in format 1 that is the only one, if any."""
    if "schemas" in facts:
        return tuple(map(SchemaVersion.of, facts["schemas"]))
    if facts["arrow_schema"] is None:
        return ()
    first = {"version": 1, "since_key": facts["schema_key"], "changed_at": facts["updated_at"]}
    return (SchemaVersion.of({**facts, **first}),)


def with_version(
    before: Versions, schema: pa.Schema, since_key: str | None, changed_at: datetime
) -> Versions:
    """Return the versions with one more, unless its schema is the last one's."""
    data = schemas.to_bytes(schema)
    if before and before[-1].arrow_schema == data:
        return before
    number = before[-1].version + 1 if before else 1
    return (*before, SchemaVersion(number, data, since_key, changed_at))


def version_rows(table: str, versions: Sequence[SchemaVersion]) -> pl.DataFrame:
    """Build a table's rows of ``_s3pq_schemas``."""
    return pl.DataFrame(
        [(table, v.version, v.arrow_schema, v.since_key, v.changed_at) for v in versions],
        schema=SCHEMA_COLUMNS,
        orient="row",
    )
