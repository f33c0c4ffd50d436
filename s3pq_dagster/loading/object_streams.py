"""Opens the streams of one load: of all that is pending, and of a few objects once more."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import pyarrow as pa

from s3pq_dagster.decoding.decode_plan import MOST_ROWS
from s3pq_dagster.layout.key_reader import KeyReader
from s3pq_dagster.loading.checkpoints import RefusedInRefreshError
from s3pq_dagster.loading.plan import LoadPlan
from s3pq_dagster.objects import Listing, ObjectMeta
from s3pq_dagster.reading.early_decoding import build_fetcher
from s3pq_dagster.reading.fetcher import Fetcher
from s3pq_dagster.reading.fitting import Reference
from s3pq_dagster.reading.progress_log import ProgressLog
from s3pq_dagster.reading.readable_objects import LoadRules, ReadableObjects
from s3pq_dagster.reading.table_stream import TableStream
from s3pq_dagster.source.store import Store
from s3pq_dagster.spec import S3ParquetSpec


@dataclass(frozen=True, slots=True)
class Attempt:
    """What earlier attempts of one load found out."""

    refused: Mapping[ObjectMeta, str] = field(default_factory=dict)
    """Objects that the destination refused, and why."""
    one_by_one: bool = False
    """Whether each object is a checkpoint of its own, so that a refused one is known."""
    may_replace_schema: bool = False
    """Whether to stop where no loaded row is left and the table's columns would differ."""
    known_faults: frozenset[str] | None = None
    """If given, the load stops at the first object that cannot be loaded and is none of these."""
    least: pa.Schema | None = None
    """What the table's schema is to hold in any case."""

    def after(self, refused: RefusedInRefreshError) -> Self:
        """Return what is known after another attempt."""
        if refused.found is None:
            return replace(self, one_by_one=True)
        return replace(self, refused={**self.refused, refused.found: refused.error.reason})


@dataclass(frozen=True, slots=True)
class ObjectStreams:
    """Opens streams of one table's objects for one load."""

    plan: LoadPlan
    store: Store
    rules: LoadRules
    log: logging.Logger
    least: pa.Schema | None = None
    """What the table's schema is to hold in any case."""

    def open(self, fetcher: Fetcher, pending: Listing, reference: Reference | None) -> TableStream:
        """Open the stream of some objects, without sending a request yet.

        Args:
            fetcher: Fetches the objects; closed with the stream.
            pending: The objects.
            reference: The table's schema; ``None`` takes that of the first readable object.
        """
        progress = ProgressLog(self.plan.owner.table, pending, self.log)
        # Uncut batches: destinations would only join the pieces again.
        keys = KeyReader(self.plan.spec.key_layout, pending.frame["key"])
        objects = ReadableObjects(fetcher, progress, self.rules, keys)
        return TableStream(objects, reference, most_rows=MOST_ROWS, least=self.least)

    def again(self, objects: Listing, reference: Reference | None) -> TableStream:
        """Open a stream of objects read before, in which each is a checkpoint of its own."""
        fetcher = build_fetcher(self.store, objects, one_by_one(self.plan.spec))
        return self.open(fetcher, objects, reference)


def one_by_one(spec: S3ParquetSpec) -> S3ParquetSpec:
    """Return the spec under which no two objects share a checkpoint."""
    return spec.model_copy(update={"checkpoint_bytes": 1})
