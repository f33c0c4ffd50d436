"""s3pq_dagster with the largest ``rows_per_record`` instead of the default 500."""

from functools import partial

from bench.contenders.ours import VERSION, load
from bench.contenders.task import contend

if __name__ == "__main__":
    contend(VERSION, partial(load, rows_per_record=65_536))
