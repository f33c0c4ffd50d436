"""Footers read without their objects: a table's schema, and how many rows there are."""

import logging
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import polars as pl
import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.decoding.checked_batch import malformed
from s3pq_dagster.decoding.parquet_file import (
    END_BYTES,
    LEAST_BYTES,
    MAGIC,
    OpenedFile,
    footer_fault,
    is_footer_within,
    open_file,
)
from s3pq_dagster.decoding.sandbox import decode_in_sandbox
from s3pq_dagster.errors import (
    AccessDeniedError,
    MalformedObjectError,
    ObjectChangedError,
    ObjectNotFoundError,
    StoreRefusedError,
    TrialError,
)
from s3pq_dagster.logs import line
from s3pq_dagster.objects import Listing, ObjectMeta
from s3pq_dagster.source.store import Store

_TAIL_BYTES = 64 * 1024
_MOST_TRIED = 3
"""Objects whose footers are tried for a table's schema."""
_MOST_READS = 2
"""How often a footer is read before the object counts as having none."""
MOST_AT_A_TIME = 32
"""Footers read at the same time."""
_MOST_QUEUED = 4096
"""Footers that wait for their turn: each takes about a kilobyte, and there may be a million."""
_MOST_BYTES = 64 * 1024 * 1024
"""A longer footer is not read here, but only when its object is loaded."""
_TRIAL_BYTES = 256 * 1024 * 1024
_TRIAL_SECONDS = 60
"""Bounds of memory and time for parsing a long footer in a sandbox process."""


def read_schema(store: Store, found: ObjectMeta) -> pa.Schema:
    """Read an object's schema; see :func:`read_footer`.

    Returns:
        The canonical schema of the file's own columns, with what the file says of them.
    """
    try:
        file = read_footer(store, found)
        return schemas.with_facts(file.canonical_schema, file.schema_arrow)
    except (pa.ArrowException, ValueError) as error:
        raise malformed(found.key, error) from error


def read_footer(store: Store, found: ObjectMeta, wanted: pa.Schema | None = None) -> OpenedFile:
    """Read an object's footer in one ranged request, two if it is over 64 KiB.

    Args:
        store: Where the object is.
        found: The object.
        wanted: The table's schema, if it is known; see :func:`open_file`.

    Returns:
        A file with its metadata, from which no rows can be read.

    Raises:
        MalformedObjectError: There is no Parquet footer.
        TrialError: Its footer is long, and no sandbox process could be started to parse it.
        StoreError: As :meth:`Store.read`.
    """
    if (fault := found.size_fault) is not None:
        raise MalformedObjectError(found.key, fault)
    # The magic at its start is left out: so no request is for the whole object.
    start = max(len(MAGIC), found.size - _TAIL_BYTES)
    tail = b"" if found.size < LEAST_BYTES else store.read(found, start, found.size)
    if (fault := footer_fault(tail, found.size)) is not None:
        raise MalformedObjectError(found.key, fault)
    length = int.from_bytes(tail[-8:-4], "little") + END_BYTES
    if length > _MOST_BYTES:
        reason = f"its footer of {length} bytes is too long to be read alone"
        raise MalformedObjectError(found.key, reason)
    if length > len(tail):
        tail = store.read(found, found.size - length, found.size - len(tail)) + tail
    return _parsed(found.key, MAGIC + tail[-length:], wanted)


def _parsed(key: str, footer: bytes, wanted: pa.Schema | None) -> OpenedFile:
    """Parse a footer; a long one is parsed in a sandbox process first."""
    if not is_footer_within(len(footer), _TRIAL_BYTES):
        decode_in_sandbox(key, footer, 0, max_bytes=_TRIAL_BYTES, max_seconds=_TRIAL_SECONDS)
    try:
        return open_file(pa.BufferReader(footer), wanted)
    except Exception as error:
        raise malformed(key, error) from error


def footer_rows(store: Store, listing: Listing) -> pl.DataFrame:
    """Read the numbers of rows that the footers of some objects state, many at a time.

    Args:
        store: Where the objects are.
        listing: The objects; one that was deleted or overwritten since it was listed is left out.

    Returns:
        ``key``, ``version``, ``size`` and ``footer_rows``, which is null where no footer can be
        read.

    Raises:
        StoreError: The store failed for another reason than the state of one object.
    """

    def rows_of(found: ObjectMeta) -> tuple[str, str, int, int | None] | None:
        rows = None
        for _ in range(_MOST_READS):
            try:
                rows = read_footer(store, found).rows
                break
            except MalformedObjectError:  # the transfer may be at fault
                continue
            except (ObjectChangedError, ObjectNotFoundError):
                return None
        return found.key, found.version, found.size, rows

    counts, left = [], iter(listing)
    with ThreadPoolExecutor(MOST_AT_A_TIME, thread_name_prefix="s3pq-footer") as pool:
        while some := list(islice(left, _MOST_QUEUED)):
            counts += [found for found in pool.map(rows_of, some) if found is not None]
    columns = {
        "key": pl.String,
        "version": pl.String,
        "size": pl.Int64,
        "footer_rows": pl.Int64,
    }
    return pl.DataFrame(counts, schema=columns, orient="row")


def table_schema(
    store: Store, table: str, listing: Listing, log: logging.Logger
) -> tuple[pa.Schema, ObjectMeta] | None:
    """Read the schema of a table's first readable object in reading order.

    Args:
        store: Where the objects are.
        table: Name of the table, for the log.
        listing: The table's objects.
        log: Gets a warning for each object whose schema cannot be read.

    Returns:
        Schema and object; ``None`` if the first three objects have no readable schema.

    Raises:
        StoreError: The store failed for another reason than the state of one object.
    """
    for found in Listing(listing.in_reading_order().frame.head(_MOST_TRIED)):
        try:
            return read_schema(store, found), found
        except (
            AccessDeniedError,
            MalformedObjectError,
            ObjectChangedError,
            ObjectNotFoundError,
            StoreRefusedError,
            TrialError,
        ) as error:
            reason = error.reason if isinstance(error, MalformedObjectError) else error
            log.warning(line("schema_skipped", table=table, key=found.key, reason=reason))
    return None
