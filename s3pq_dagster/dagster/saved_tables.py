"""Discovered tables, and the file that keeps them between processes."""

import base64
import glob
import hashlib
import json
import logging
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.dagster.resource import S3ParquetResource
from s3pq_dagster.logs import line

_FORMAT = 1
_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
    pa.ArrowException,
)
"""What reading a file with JSON of any shape may raise."""
_NAME = re.compile(r"\w+", re.ASCII)
"""A table's name; ops are named after it."""
_BUCKET_CHARACTERS = 63
"""How much of the bucket's name is in the file's name, whose length is limited too."""


@dataclass(frozen=True, slots=True)
class DiscoveredTable:
    """A table as it was when the bucket was last listed."""

    bucket: str
    name: str
    prefix: str
    objects: int
    """How many objects it has."""
    bytes: int
    """The size of all its objects."""
    schema: pa.Schema | None = None
    """The canonical schema of the files' own columns, with what the file says of each; ``None`` if
    no footer could be read."""
    schema_key: str | None = None
    """The key of the object that the schema was read from."""
    schema_version: str | None = None
    """The version of ``schema_key`` that the schema was read from."""
    missing_since: float | None = None
    """When none of its objects was listed for the first time, in seconds since the epoch; ``None``
    if the last listing has some."""
    collision: tuple[str, list[str]] | None = None
    """If it cannot be loaded for its name, which others have too, or in another case of letters:
    all of these names, and the patterns they come from."""
    partitions: list[str] | None = None
    """The least of its Dagster partitions, or all of them where they are texts; ``None`` where its
    rule declares none."""

    @property
    def uri(self) -> str:
        """Where the objects are."""
        return f"s3://{self.bucket}/{self.prefix}"


@dataclass(frozen=True, slots=True)
class SavedTables:
    """The file with the tables that the last successful discovery found.

    It is under ``DAGSTER_HOME``, or in the user's cache folder if that is not set. Each bucket and
    selection of tables has its own file.
    """

    key: str
    """Identifies bucket and selection among the definitions of a code location."""
    path: Path
    without_layout: str
    """Identifies bucket and selection, whatever the layout."""

    @classmethod
    def of(cls, source: S3ParquetResource, path: Path | None = None) -> Self:
        """Return the file of a bucket and its selection of tables, or the one at ``path``."""
        selection = [
            source.endpoint_url,
            source.region,
            source.bucket,
            source.path_prefix,
            source.tables,
            source.skip_tables,
        ]
        # The spec has checked that a bucket's name can be part of a path, but it may be too long.
        bucket = source.bucket[:_BUCKET_CHARACTERS]
        name = f"{bucket}-{_digest([*selection, source.layout])}"
        path = path or _state_directory() / f"{name}.json"
        return cls(f"s3pq/catalog/{name}", path, f"{bucket}-{_digest(selection)}")

    def load(self, log: logging.Logger, path: str | None = None) -> list[DiscoveredTable] | None:
        """Read the file, or the one at ``path``; ``None`` if it is missing or unreadable.

        It is ``None`` too if the file is of another layout, or selection.

        Args:
            log: Gets a warning if there is a file, and it is not what :meth:`save` writes.
            path: A file that another process has read.
        """
        read = Path(path or self.path)
        try:
            state = json.loads(read.read_text(encoding="utf-8"))
            tables = _tables(state) if self._is_of(state) else None
        except FileNotFoundError:
            return None
        except _UNREADABLE as error:
            reason = f"{type(error).__name__}: {error}"[:200]
            consequence = "it counts as missing; it is written anew when the bucket is listed"
            log.warning(line("catalog_ignored", path=read, reason=reason, consequence=consequence))
            return None
        return tables

    def load_of_other_layout(self) -> list[DiscoveredTable]:
        """Read the newest file of the same bucket and selection, but another layout, if any."""
        newest, found = 0.0, list[DiscoveredTable]()
        others = self.path.parent.glob(f"{glob.escape(self._bucket)}-*.json")
        for path in (self.path, *others):
            try:
                state, written = json.loads(path.read_text("utf-8")), path.stat().st_mtime
                is_other = path != self.path or not self._is_of(state)
                is_other = is_other and state["without_layout"] == self.without_layout
                if is_other and written > newest:
                    newest, found = written, _tables(state)
            except _UNREADABLE:
                continue  # it is no file of ours; whose it is says so
        return found

    @property
    def _bucket(self) -> str:
        return self.without_layout.rpartition("-")[0]

    def _is_of(self, state: Any) -> bool:
        """Return whether what a file holds is of this layout; its name alone may have told."""
        return bool(state.get("key", self.key) == self.key)

    def write(self, tables: list[DiscoveredTable]) -> None:
        """Replace the file atomically.

        Raises:
            OSError: It cannot be written, and stays as it is.
        """
        state = {
            "format": _FORMAT,
            "key": self.key,
            "without_layout": self.without_layout,
            "tables": [_to_json(table) for table in tables],
        }
        _replace(self.path, json.dumps(state))

    def save(self, tables: list[DiscoveredTable], log: logging.Logger) -> None:
        """Write the file; log a warning if it cannot be written."""
        try:
            self.write(tables)
        except OSError as error:
            log.warning(
                line(
                    "catalog_not_saved",
                    path=self.path,
                    reason=error,
                    consequence="runs list the bucket again to rebuild the definitions",
                )
            )


def _digest(selection: list[Any]) -> str:
    return hashlib.sha256(json.dumps(selection).encode()).hexdigest()[:16]


def _tables(state: Any) -> list[DiscoveredTable]:
    """Read what a file holds; raises any of ``_UNREADABLE``."""
    if state["format"] != _FORMAT:
        raise ValueError(f"its format is {state['format']!r:.40}, not {_FORMAT}")
    tables = [_from_json(table) for table in state["tables"]]
    if twice := schemas.duplicates(table.name for table in tables):
        raise ValueError(f"it has table {twice[0]!r} twice")
    return tables


def _replace(path: Path, text: str) -> None:
    """Write a file under a temporary name, then move it to its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, delete=False, encoding="utf-8"
    ) as temporary:
        try:
            temporary.write(text)
            temporary.flush()
            Path(temporary.name).replace(path)
        except BaseException:
            Path(temporary.name).unlink(missing_ok=True)
            raise


def _state_directory() -> Path:
    if home := os.environ.get("DAGSTER_HOME"):
        return Path(home) / "storage" / "s3pq_dagster"
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "s3pq_dagster"


def _to_json(table: DiscoveredTable) -> dict[str, Any]:
    schema = None if table.schema is None else schemas.to_bytes(table.schema)
    return {
        "bucket": table.bucket,
        "name": table.name,
        "prefix": table.prefix,
        "objects": table.objects,
        "bytes": table.bytes,
        "schema": None if schema is None else base64.b64encode(schema).decode(),
        "schema_key": table.schema_key,
        "schema_version": table.schema_version,
        "missing_since": table.missing_since,
        "collision": table.collision,
        "partitions": table.partitions,
    }


def _from_json(state: dict[str, Any]) -> DiscoveredTable:
    """Build a table from JSON.

    Raises:
        TypeError: It is no object, has other fields, or a field has another type.
        ValueError: A field has a value that it cannot have.
        KeyError: A field is missing.
        pyarrow.ArrowException: Its schema cannot be read.
    """
    data = state["schema"]
    schema = None if data is None else schemas.from_bytes(base64.b64decode(data))
    collision = _collision(state.get("collision"))
    table = DiscoveredTable(**(state | {"schema": schema, "collision": collision}))
    if table.partitions is not None and type(table.partitions) is not list:
        raise TypeError(f"{table.partitions!r:.40} are no partitions")
    for text in (table.bucket, table.name, table.prefix, *(table.partitions or ())):
        text.encode()  # raises if it is no text, or cannot be stored
    for more in (table.schema_key, table.schema_version):
        if more is not None:
            more.encode()
    if not _NAME.fullmatch(table.name) or not table.bucket:
        raise ValueError(f"{table.name!r:.40} of bucket {table.bucket!r:.40} is no table")
    if not (_is_count(table.objects) and _is_count(table.bytes) and _is_time(table.missing_since)):
        raise ValueError(f"table {table.name!r:.40} has no proper counts")
    return table


def _collision(state: Any) -> tuple[str, list[str]] | None:
    """Read a collision from JSON.

    Raises:
        TypeError: It is none.
        ValueError: It is none.
        AttributeError: It has something else than texts.
    """
    if state is None:
        return None
    name, (first, second, *more) = state  # one alone collides with none
    for text in (name, first, second, *more):
        text.encode()  # raises if it is no text, or cannot be stored
    return name, [first, second, *more]


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_time(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and value > 0)
