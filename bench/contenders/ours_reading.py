"""s3pq_dagster's reader alone: objects to batches, which are discarded."""

import logging
from importlib.metadata import version

from bench.contenders.task import Task, contend
from s3pq_dagster.decoding.decode_plan import MOST_ROWS
from s3pq_dagster.reading.early_decoding import build_fetcher
from s3pq_dagster.reading.progress_log import ProgressLog
from s3pq_dagster.reading.readable_objects import ReadableObjects
from s3pq_dagster.reading.table_stream import TableStream
from s3pq_dagster.source.catalog import group_by_prefix
from s3pq_dagster.source.listing import BucketListing
from s3pq_dagster.source.store import Store
from s3pq_dagster.spec import S3ParquetSpec


def load(task: Task) -> dict[str, int]:
    """Read every table."""
    spec = S3ParquetSpec(bucket=task.bucket, region=task.region, endpoint_url=task.endpoint)
    store, rows = Store.open(spec), 0
    listing = BucketListing("").go_on(store)
    assert listing is not None
    for table, listed in group_by_prefix(listing).by_pattern.items():
        progress = ProgressLog(table, listed, logging.getLogger(__name__))
        objects = ReadableObjects(build_fetcher(store, listed, spec), progress)
        with TableStream(objects, None, most_rows=MOST_ROWS) as stream:
            for checkpoint in stream.checkpoints():
                rows += sum(batch.num_rows for batch in checkpoint.batches or ())
    store.close()
    return {"rows": rows}


if __name__ == "__main__":
    contend(f"s3pq_dagster {version('s3pq-dagster')}", load)
