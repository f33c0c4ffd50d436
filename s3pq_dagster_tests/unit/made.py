"""Small values to test with: objects, listings, ledgers, specs and open stores."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import boto3
import polars as pl

from s3pq_dagster.ledger import ENTRY_COLUMNS, Ledger, Status
from s3pq_dagster.objects import Listing, ObjectMeta
from s3pq_dagster.source.listing import list_prefix
from s3pq_dagster.source.store import Store
from s3pq_dagster.spec import S3ParquetSpec
from s3pq_dagster_tests.buckets import Bucket

NOON = datetime(2024, 2, 14, 12, 0, 0, tzinfo=UTC)


def meta(key: str, e_tag: str | None = "v1", *, size: int = 10, second: int = 0) -> ObjectMeta:
    """Make an object, stamped so many seconds after noon."""
    return ObjectMeta(key, size, e_tag, NOON + timedelta(seconds=second))


def listing(*objects: ObjectMeta) -> Listing:
    """Make a listing of these objects."""
    return Listing.of(objects)


def keys(listed: Listing) -> list[str]:
    """Give a listing's keys in its order."""
    return list(listed.frame["key"])


def ledger(*entries: tuple[ObjectMeta, Status]) -> Ledger:
    """Make a ledger that holds these objects with these statuses."""
    return Ledger(
        pl.DataFrame(
            [(o.key, o.e_tag, o.size, o.last_modified, 1, str(s), None) for o, s in entries],
            schema=ENTRY_COLUMNS,
            orient="row",
        )
    )


def spec(**fields: Any) -> S3ParquetSpec:
    """Make a spec, bucket and region given."""
    return S3ParquetSpec(**({"bucket": "lake", "region": "us-east-1"} | fields))


@contextmanager
def opened(bucket: Bucket, **fields: Any) -> Iterator[Store]:
    """Open a bucket's store, with a session that is made once: each costs a tenth of a second."""
    store = Store.open(S3ParquetSpec(**(bucket.spec | fields)), _session())
    try:
        yield store
    finally:
        store.close()


@contextmanager
def opened_at(endpoint: str, **fields: Any) -> Iterator[Store]:
    """Open the store of a server, as :func:`opened` does."""
    store = Store.open(spec(endpoint_url=endpoint, **fields), _session())
    try:
        yield store
    finally:
        store.close()


@cache
def _session() -> boto3.session.Session:
    return boto3.session.Session()


def listed(store: Store, prefix: str = "") -> Listing:
    """List a bucket in reading order."""
    return list_prefix(store, prefix).in_reading_order()


class Lines(logging.Handler):
    """Keeps what is logged to it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def texts(self) -> list[str]:
        return [record.getMessage() for record in self.records]

    def of(self, event: str) -> list[str]:
        """Give the lines of one event, of which a message may have many."""
        lines = [line for text in self.texts for line in text.splitlines()]
        return [line for line in lines if line.split(" ", 1)[0] == event]


def logger(*handlers: logging.Handler) -> logging.Logger:
    """Make a logger that nobody else listens to."""
    made = logging.Logger("s3pq-test", logging.DEBUG)  # noqa: LOG001 - of its own, not the tree's
    for handler in handlers:
        made.addHandler(handler)
    return made


def names_in(texts: Sequence[str], *wanted: str) -> bool:
    """Tell whether one of the texts holds every one of the wanted words."""
    return any(all(word in text for word in wanted) for text in texts)
