"""Objects opened as Parquet: malformed ones are told from a machine short of something."""

import os
import resource
import subprocess
import sys
from contextlib import closing

import pyarrow as pa
import pytest

from s3pq_dagster.errors import MalformedObjectError, ReadAbandonedError
from s3pq_dagster.reading.object_bytes import ObjectBytes
from s3pq_dagster.reading.open_object import open_object
from s3pq_dagster.reading.spool import Spool
from s3pq_dagster_tests.buckets import numbers, parquet
from s3pq_dagster_tests.levels import first_of
from s3pq_dagster_tests.malformed.crafted import INT32, Chunk, page
from s3pq_dagster_tests.unit.decoding.test_sandbox import children
from s3pq_dagster_tests.unit.made import meta, spec


def test_running_out_of_descriptors_is_not_a_malformed_object() -> None:
    """Nothing is wrong with the object; quarantined, its rows would be missing."""
    body = parquet(numbers(3))
    found = meta("k", size=len(body))
    with closing(Spool(found)) as spool:
        fetched = ObjectBytes(found, spool=spool)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (spool.fileno(), hard))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                open_object(fetched, spec(), whole=True)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_broken_page_is_a_malformed_object() -> None:
    """Whatever error the decoder raises."""
    body = bytearray(parquet(numbers(1000)))
    body[100:400] = b"\xff" * 300
    with pytest.raises(MalformedObjectError):
        open_object(ObjectBytes(meta("k", size=len(body)), data=bytes(body)), spec(), whole=True)


@pytest.mark.parametrize("stated", [0, 3])
def test_a_total_of_no_rows_is_none(stated: int) -> None:
    """Early writers left it at 0; the row groups say how many rows there are, as the pages do."""
    body = bytes(Chunk(page(bytes(12), 3), rows=3, kind=INT32, file_rows=stated))
    fetched = ObjectBytes(meta("k", size=len(body)), data=body)
    with closing(open_object(fetched, spec(), whole=True)) as opened:
        assert sum(batch.num_rows for batch in opened.batches()) == opened.rows == 3


def test_another_total_than_the_pages_hold_is_malformed() -> None:
    """Which of the two is right is not known."""
    body = bytes(Chunk(page(bytes(12), 3), rows=3, kind=INT32, file_rows=2))
    fetched = ObjectBytes(meta("k", size=len(body)), data=body)
    with pytest.raises(MalformedObjectError, match="footer says 2 rows, its pages hold 3"):
        open_object(fetched, spec(), whole=True)


def test_page_headers_are_followed_only_while_somebody_waits() -> None:
    """There may be a million of them, and a cancelled run does not wait that long."""
    body = parquet(numbers(1000))

    def cancelled() -> None:
        raise ReadAbandonedError

    with pytest.raises(ReadAbandonedError):
        open_object(
            ObjectBytes(meta("k", size=len(body)), data=body),
            spec(),
            whole=False,
            on_batch=cancelled,
        )


_SHORT_OF_MEMORY = """
import resource, sys
from pathlib import Path
from s3pq_dagster.reading.open_object import open_object
from s3pq_dagster.reading.object_bytes import ObjectBytes
from s3pq_dagster.reading.spool import Spool
from s3pq_dagster_tests.buckets import numbers, parquet
from s3pq_dagster_tests.unit.made import meta, spec
body = parquet(numbers(600_000))
fetched = ObjectBytes(meta("k", size=len(body)), data=body)
opened = open_object(fetched, spec(), whole=False)
if sys.argv[1] == "memory":
    held = list(opened.batches())  # starts the threads
status = Path("/proc/self/status").read_text().splitlines()
taken = next(int(line.split()[1]) for line in status if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (taken * 1024 + 2**20, resource.RLIM_INFINITY))
try:
    kept = [list(opened.batches()) for _ in range(20)]  # more than was freed before
except Exception as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize(
    ("short_of", "error"), first_of([("memory", "ArrowMemoryError"), ("threads", "ArrowException")])
)
def test_what_this_machine_is_short_of_is_no_fault_of_the_object(short_of: str, error: str) -> None:
    """The run fails and says so, for another process can read the object."""
    found = subprocess.run(
        [sys.executable, "-c", _SHORT_OF_MEMORY, short_of],
        env=os.environ | {"ARROW_DEFAULT_MEMORY_POOL": "system"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout == f"{error}\n", found.stderr


def test_ordinary_objects_start_no_process() -> None:
    """What common writers leave is shown to be harmless by its page headers alone."""
    before = children()
    rows = 5000
    table = pa.table(
        {
            "id": range(rows),
            "name": [f"name {i}" for i in range(rows)],
            "kind": [f"kind {i % 9}" for i in range(rows)],
            "tags": [["a"] * (i % 5) for i in range(rows)],
        }
    )
    plain: dict[str, object] = {}
    for options in (plain, {"compression": "zstd"}, {"row_group_size": 100}):
        body = parquet(table, **options)
        opened = open_object(ObjectBytes(meta("k", size=len(body)), data=body), spec(), whole=True)
        assert sum(batch.num_rows for batch in opened.batches()) == rows
    assert children() == before


def test_a_small_object_of_many_rows_is_not_kept() -> None:
    """Kilobytes that decode to much are decoded again rather than held."""
    body = parquet(pa.table({"c": ["x" * 1000] * 100_000}))
    opened = open_object(ObjectBytes(meta("k", size=len(body)), data=body), spec(), whole=True)
    assert opened.decoded is None
    assert [sum(batch.num_rows for batch in opened.batches()) for _ in range(2)] == [100_000] * 2


def test_batches_have_the_canonical_types() -> None:
    """A dictionary that Arrow would keep is cast where its size is bounded."""
    table = pa.table({"c": pa.array(["a", "b", None]).dictionary_encode()})
    body = parquet(table)
    opened = open_object(ObjectBytes(meta("k", size=len(body)), data=body), spec(), whole=False)
    assert [batch.schema for batch in opened.batches()] == [pa.schema([("c", pa.string())])]
