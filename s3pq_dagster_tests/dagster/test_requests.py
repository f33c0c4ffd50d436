"""The requests that the server receives."""

import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pyarrow as pa
import pytest

from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.command_line import headless_sync
from s3pq_dagster_tests.lake import Lake
from s3pq_dagster_tests.levels import first_of
from s3pq_dagster_tests.proxy import Request


def fill(bucket: Bucket, *, tables: int, objects: int) -> None:
    """Put so many objects into each of so many tables."""
    for table in range(tables):
        for number in range(objects):
            bucket.put(f"t{table}/{number}.parquet", 3)


def test_a_first_sync_makes_one_request_an_object_beside_one_footer_a_table(lake: Lake) -> None:
    """Footers are ranged requests, objects whole ones; nothing is requested twice."""
    fill(lake.bucket, tables=3, objects=4)
    definitions = lake.definitions()
    footers = lake.bucket.proxy.object_reads
    assert len(footers) == 3
    assert all(read.range and not read.range.startswith("bytes=0-") for read in footers)
    lake.bucket.proxy.forget()
    assert lake.run(definitions=definitions).success
    reads = lake.bucket.proxy.object_reads
    assert len(reads) == len({read.key for read in reads}) == 12
    assert all(read.if_match for read in reads)


@pytest.mark.nightly
def test_a_headless_sync_lists_the_prefix_twice_however_many_tables(
    weed_bucket: Bucket, tmp_path: Path
) -> None:
    """The definitions list once, and the tables of the run share another listing."""
    fill(weed_bucket, tables=5, objects=2)
    weed_bucket.proxy.forget()
    done = headless_sync(weed_bucket, tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(weed_bucket.proxy.listings) == 2
    assert len(weed_bucket.proxy.object_reads) == 5 + 10


@pytest.mark.thorough
def test_a_sync_with_nothing_new_makes_no_object_request(
    weed_bucket: Bucket, tmp_path: Path
) -> None:
    """Schemas come from the saved tables, and no rows are read."""
    fill(weed_bucket, tables=2, objects=2)
    assert headless_sync(weed_bucket, tmp_path).returncode == 0
    weed_bucket.proxy.forget()
    assert headless_sync(weed_bucket, tmp_path).returncode == 0
    assert weed_bucket.proxy.object_reads == []
    assert len(weed_bucket.proxy.listings) == 2


def test_the_tables_of_a_run_share_one_listing(lake: Lake) -> None:
    """The listing is shared even if the run has only some of the bucket's tables."""
    fill(lake.bucket, tables=3, objects=1)
    definitions = lake.definitions()
    for tables in ((), ("t0", "t2")):
        lake.bucket.proxy.forget()
        assert lake.run(*tables, definitions=definitions).success
        assert len(lake.bucket.proxy.listings) == 1


def test_materializing_one_table_lists_only_its_prefix(lake: Lake) -> None:
    """Neither other prefixes nor deeper ones are listed."""
    fill(lake.bucket, tables=3, objects=1)
    lake.bucket.put("t1/deeper/x.parquet", 1)
    definitions = lake.definitions()
    lake.bucket.proxy.forget()
    assert lake.run("t1", definitions=definitions).success
    assert [listing.query["prefix"] for listing in lake.bucket.proxy.listings] == [["t1/"]]
    assert [listing.query["delimiter"] for listing in lake.bucket.proxy.listings] == [["/"]]
    assert lake.rows("t1") == 3


def test_a_large_object_is_fetched_in_ranges_each_byte_once(lake: Lake) -> None:
    """Every range carries If-Match, and together they are the object."""
    lake.bucket.put("a/1.parquet", 20_000)
    definitions = lake.definitions(max_object_bytes_in_memory=50_000)
    lake.bucket.proxy.forget()
    assert lake.run(definitions=definitions).success
    reads = lake.bucket.proxy.object_reads
    spans = sorted(tuple(map(int, str(r.range).removeprefix("bytes=").split("-"))) for r in reads)
    assert len(spans) > 1
    assert spans[0][0] == 0
    assert all(after[0] == before[1] + 1 for before, after in pairwise(spans))
    assert spans[-1][1] + 1 == lake.ledger("a")[0]["size"]
    assert all(read.if_match for read in reads)
    assert lake.rows("a") == 20_000


@pytest.mark.thorough
def test_the_next_table_is_fetched_while_one_is_written(lake: Lake) -> None:
    """The next table's objects are requested before the last one of this table has come."""
    fill(lake.bucket, tables=3, objects=2)
    definitions = lake.definitions()
    begun = {f"t{table}": threading.Event() for table in range(3)}
    late: list[str] = []

    def hold_until_the_next_has_begun(request: Request) -> None:
        if not request.is_object:
            return
        table = request.key.split("/")[0]
        begun[table].set()
        after = f"t{int(table[1]) + 1}"
        if after in begun and not begun[after].wait(10):
            late.append(after)

    lake.bucket.proxy.before = hold_until_the_next_has_begun
    assert lake.run(definitions=definitions).success
    assert late == []
    assert [lake.rows(f"t{table}") for table in range(3)] == [6, 6, 6]


class _Instance:
    """An instance of DuckDB, and how it attached files."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self.attached: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, *parameters: Any) -> Any:
        if sql.startswith("ATTACH"):
            self.attached.append(sql.rsplit(maxsplit=1)[-1])
        return self._connection.execute(sql, *parameters)


def test_a_duckdb_file_is_opened_once_for_each_table_with_nothing_new(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loaded table is opened three times: to ask for its state, to write it, and to check it.

    Each time the instance that the process has of the file attaches it.
    """
    instances: list[_Instance] = []
    connect: Callable[..., duckdb.DuckDBPyConnection] = duckdb.connect

    def made(*database: str, **options: Any) -> _Instance:
        instances.append(_Instance(connect(*database, **options)))
        return instances[-1]

    monkeypatch.setattr(duckdb, "connect", made)
    fill(lake.bucket, tables=3, objects=2)
    definitions = lake.definitions()
    assert lake.run(definitions=definitions).success
    assert len(instances) == 2  # the file is created by one of its own
    attached = instances[-1].attached
    attached.clear()
    assert lake.run(definitions=definitions).success
    assert attached == ["(READ_ONLY)"] * 3
    attached.clear()
    for table in range(3):
        lake.bucket.put(f"t{table}/new.parquet", 3)
    assert lake.run(definitions=definitions).success
    assert sorted(attached) == ["(READ_ONLY)"] * 6 + ["(READ_WRITE)"] * 3
    assert len(instances) == 2


@pytest.mark.thorough
@pytest.mark.parametrize("concurrency", first_of([2, 1, 5]))
def test_two_tables_share_the_bound_of_requests(lake: Lake, concurrency: int) -> None:
    """`concurrency` limits the requests of a run, prefetching included."""
    fill(lake.bucket, tables=3, objects=8)
    definitions = lake.definitions(concurrency=concurrency)
    lake.bucket.proxy.before = lambda _request: time.sleep(0.02)
    lake.bucket.proxy.forget()
    assert lake.run(definitions=definitions).success
    assert lake.bucket.proxy.most_in_flight <= concurrency


@pytest.mark.thorough
def test_a_job_of_some_tables_reads_no_others(lake: Lake) -> None:
    """The run has the selection of its job."""
    fill(lake.bucket, tables=3, objects=2)
    chosen = dg.define_asset_job("some", [dg.AssetKey([lake.bucket.name, "t0"])])
    definitions = dg.Definitions.merge(lake.definitions(), dg.Definitions(jobs=[chosen]))
    lake.bucket.proxy.forget()
    job = definitions.resolve_job_def("some")
    assert job.execute_in_process(instance=lake.instance).success
    assert {read.key.split("/")[0] for read in lake.bucket.proxy.object_reads} == {"t0"}


@pytest.mark.thorough
def test_a_table_that_fails_leaves_what_was_fetched_of_the_next(lake: Lake) -> None:
    """Each object is read once."""
    lake.bucket.put("t0/0.parquet", 3)
    lake.bucket.put("t0/1.parquet", pa.table({"other": [1]}))
    for number in range(3):
        lake.bucket.put(f"t1/{number}.parquet", 3)
    definitions = lake.definitions()
    lake.bucket.proxy.forget()
    assert not lake.run(definitions=definitions).success
    assert lake.rows("t1") == 9
    keys = [read.key for read in lake.bucket.proxy.object_reads if read.key.startswith("t1/")]
    assert sorted(keys) == sorted(set(keys))


def test_a_reload_reads_no_footer_again(lake: Lake) -> None:
    """The saved tables have the schema of that key and e_tag."""
    fill(lake.bucket, tables=2, objects=1)
    lake.definitions()
    lake.bucket.proxy.forget()
    found = lake.definitions().resolve_asset_graph().get_all_asset_keys()
    assert found == {dg.AssetKey([lake.bucket.name, f"t{n}"]) for n in range(2)}
    assert lake.bucket.proxy.object_reads == []


def test_a_tick_makes_no_instance_of_dagster(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Resources are opened with the instance of the daemon; making another one takes 0.1 s."""
    fill(lake.bucket, tables=2, objects=1)
    definitions = lake.definitions()
    made: list[None] = []
    ephemeral = dg.DagsterInstance.ephemeral

    def counted(*given: Any, **options: Any) -> dg.DagsterInstance:
        made.append(None)
        return ephemeral(*given, **options)

    monkeypatch.setattr(dg.DagsterInstance, "ephemeral", counted)
    assert len(lake.tick(definitions=definitions).run_requests) == 1
    assert made == []
