"""The schemas of objects that are not loaded yet, from their footers alone."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

import pyarrow as pa

from s3pq_dagster.destinations.table_state import TableState
from s3pq_dagster.drift.fitting import STRICT, fit, start
from s3pq_dagster.errors import S3ParquetError, SchemaMismatchError
from s3pq_dagster.errors.table import Deviation
from s3pq_dagster.layout.key_columns import KeyColumnError, missing_in, with_columns
from s3pq_dagster.layout.key_reader import KeyReader
from s3pq_dagster.loading.plan import LoadPlan
from s3pq_dagster.objects import Listing, ObjectMeta
from s3pq_dagster.reading.added_columns import OUR_COLUMNS, schema_with_added_columns
from s3pq_dagster.reading.footers import MOST_AT_A_TIME, read_footer
from s3pq_dagster.source.store import Store
from s3pq_dagster.spec import S3ParquetSpec

MOST_LOOKED_AT = 10_000
"""Footers that are read to tell or join the schemas of what is pending."""


@dataclass(frozen=True, slots=True)
class PendingFooter:
    """What the footer of an object says that is not loaded yet."""

    object: ObjectMeta
    rows: int
    schema: pa.Schema
    """Canonical schema of the file's own columns, and of those that its key makes."""


@dataclass(frozen=True, slots=True)
class UnreadFooter:
    """An object whose footer, or whose key's columns, cannot be read."""

    object: ObjectMeta
    error: Exception


def pending_schemas(
    plan: LoadPlan, store: Store, pending: Listing, known: pa.Schema | None
) -> Iterator[tuple[ObjectMeta, pa.Schema]]:
    """Read the footers of pending objects, many at a time, in order.

    Args:
        plan: The table.
        store: Where the objects are.
        pending: The objects; no more than 10,000 are looked at.
        known: The table's schema, if it has one; INT96 and ENUM are read as they are there.

    Yields:
        Each object whose footer can be read, and its schema with all columns that are added.
    """
    for each in pending_footers(plan, store, pending, known):
        if isinstance(each, PendingFooter) and (full := _full(plan.spec, each)) is not None:
            yield each.object, full  # the load of another one says what is wrong with it


def pending_footers(
    plan: LoadPlan, store: Store, pending: Listing, known: pa.Schema | None
) -> Iterator[PendingFooter | UnreadFooter]:
    """Read the footers of pending objects, as :func:`pending_schemas` does, errors included."""
    some = Listing(pending.frame.head(MOST_LOOKED_AT))
    keys = KeyReader(plan.spec.key_layout, some.frame["key"])

    def read(found: ObjectMeta) -> PendingFooter | UnreadFooter:
        try:
            file = read_footer(store, found, known)
            return PendingFooter(found, file.rows, file.canonical_schema)
        except (S3ParquetError, pa.ArrowException, ValueError) as error:
            return UnreadFooter(found, error)

    with ThreadPoolExecutor(MOST_AT_A_TIME, thread_name_prefix="s3pq-footer") as pool:
        objects = iter(some)
        while batch := list(islice(objects, 16 * MOST_AT_A_TIME)):
            for each in pool.map(read, batch):
                yield _with_key(keys, each) if isinstance(each, PendingFooter) else each


def _with_key(keys: KeyReader, footer: PendingFooter) -> PendingFooter | UnreadFooter:
    """Add the columns that the object's key makes."""
    try:
        columns = keys.columns(footer.object.key, OUR_COLUMNS)
    except KeyColumnError as error:
        return UnreadFooter(footer.object, error)
    missing = missing_in(footer.schema, columns)
    return replace(footer, schema=with_columns(footer.schema, missing))


def _full(spec: S3ParquetSpec, footer: PendingFooter) -> pa.Schema | None:
    try:
        return schema_with_added_columns(
            footer.schema,
            footer.object.key,
            add_cq_ids=spec.add_cq_ids,
            mode=spec.schema_mode,
        )
    except S3ParquetError:
        return None


def joined_schema(plan: LoadPlan, store: Store, state: TableState) -> pa.Schema | None:
    """Join the schemas of all that is pending, and the table's.

    Returns:
        The schema; ``None`` if there is nothing to read. What has no join with those before is left
        out: its load says so.
    """
    joined = None if plan.starts_empty else state.schema
    mode = plan.spec.schema_mode
    for _, schema in pending_schemas(plan, store, plan.difference(state).pending, joined):
        if joined is None:
            joined = start(schema, mode)
        elif not (after := fit(joined, schema, mode)).differences:
            joined = after.schema
    return joined


def with_deviations(
    error: SchemaMismatchError, plan: LoadPlan, store: Store, state: TableState
) -> SchemaMismatchError:
    """Add to an error all schemas that deviate among what is pending.

    Args:
        error: Of the first object that deviates.
        plan: The table.
        store: Where the objects are.
        state: The table after what was committed.
    """
    pending = plan.difference(state).pending
    reference = None if plan.starts_empty else state.schema
    found: dict[str, tuple[str, list[str], int]] = {}
    for each, schema in pending_schemas(plan, store, pending, reference):
        reference = reference or schema
        where = {"expected_in": repr(error.expected_key), "found_in": repr(each.key)}
        if phrases := fit(reference, schema, STRICT, **where).differences:
            first, _, count = found.get(str(schema), (each.key, phrases, 0))
            found[str(schema)] = first, phrases, count + 1
    deviations: Sequence[Deviation] = [
        Deviation(count, first, phrases) for first, phrases, count in found.values()
    ]
    left = max(0, len(pending) - MOST_LOOKED_AT)
    return error.but(deviations=deviations, not_looked_at=left)
