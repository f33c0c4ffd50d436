"""`dagster dev`, driven over its GraphQL API as the UI does."""

import operator
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest
from tenacity import stop_after_delay

from demo.webserver import Webserver, dagster_dev
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.command_line import environment
from s3pq_dagster_tests.proxy import Request
from s3pq_dagster_tests.servers import free_port
from s3pq_dagster_tests.waiting import again_while

pytestmark = pytest.mark.timeout(600)
TERMINATE = """
    mutation ($run: String!) { terminateRun(runId: $run, terminatePolicy: SAFE_TERMINATE) {
        __typename ... on PythonError { message } ... on TerminateRunFailure { message }
    } }
"""


@contextmanager
def dev(bucket: Bucket, home: Path, **variables: str) -> Iterator[Webserver]:
    """Run `dagster dev` on a bucket."""
    workspace = home / "workspace.yaml"
    environ = environment(bucket, home, **variables)
    workspace.write_text("load_from:\n  - python_module: s3pq_dagster.definitions\n")
    with dagster_dev(free_port(), environ, home / "dev.log", workspace=workspace) as webserver:
        yield webserver


def query(home: Path, sql: str) -> list[tuple[Any, ...]]:
    """Query the DuckDB file once no run has it open."""
    found: list[tuple[Any, ...]] = until(lambda: _query(home, sql))
    return found


def _query(home: Path, sql: str) -> list[tuple[Any, ...]] | None:
    try:
        with duckdb.connect(str(home / "lake.duckdb"), read_only=True) as connection:
            return connection.execute(sql).fetchall()
    except duckdb.IOException:
        return None


def until(look: Callable[[], Any], *, seconds: float = 90) -> Any:
    """Poll until there is a result."""
    return again_while(operator.not_, stop_after_delay(seconds))(look)


@pytest.mark.nightly
def test_materialize_all_then_one_then_the_sensor(bucket: Bucket, tmp_path: Path) -> None:
    """Runs and checks do what the UI asks, and the sensor finds a new object."""
    for table in ("a", "b"):
        bucket.put(f"{table}/1.parquet", 3)
    with dev(bucket, tmp_path) as webserver:
        assets = [[bucket.name, "a"], [bucket.name, "b"]]
        assert sorted(webserver.assets()) == assets
        bucket.proxy.forget()
        assert webserver.finished(webserver.materialize(assets)) == "SUCCESS"
        assert len(bucket.proxy.listings) == 1
        assert query(tmp_path, "SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)") == [
            (3, 3)
        ]

        bucket.put("a/2.parquet", 4)
        bucket.put("b/2.parquet", 4)
        bucket.proxy.forget()
        assert webserver.finished(webserver.materialize([assets[0]])) == "SUCCESS"
        assert [listing.query["prefix"] for listing in bucket.proxy.listings] == [["a/"]]
        assert query(tmp_path, "SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)") == [
            (7, 3)
        ]

        bucket.proxy.forget()
        assert webserver.finished(webserver.check(assets[1], "complete")) == "SUCCESS"
        assert [listing.query["prefix"] for listing in bucket.proxy.listings] == [["b/"]] * 2
        warned = {"success": False, "severity": "WARN"}
        assert webserver.checks(assets[1])["complete"] == warned
        assert webserver.checks(assets[0])["complete"]["success"]

        webserver.start_sensor()
        until(lambda: [run for run in webserver.runs() if _by_sensor(run) and _ended(run)])
        assert query(tmp_path, "SELECT _s3_key, count(*) FROM b GROUP BY 1 ORDER BY 1") == [
            ("b/1.parquet", 3),
            ("b/2.parquet", 4),
        ]
        by_sensor = [run for run in webserver.runs() if _by_sensor(run)]
        assert [run["assetSelection"] for run in by_sensor] == [[{"path": assets[1]}]]


def _by_sensor(run: dict[str, Any]) -> bool:
    return any(tag["key"] == "dagster/sensor_name" for tag in run["tags"])


def _ended(run: dict[str, Any]) -> bool:
    return run["status"] in ("SUCCESS", "FAILURE", "CANCELED")


# Long, because one `dagster dev`, which takes long to start, has to see the whole story.
@pytest.mark.nightly
@pytest.mark.parametrize("checkpoint_bytes", [1, 10_000_000])
def test_a_cancelled_run_leaves_exactly_its_committed_checkpoints(
    bucket: Bucket, tmp_path: Path, checkpoint_bytes: int
) -> None:
    """A run stops within seconds although the server stalls; the next run loads the rest."""
    for number in range(6):
        bucket.put(f"a/{number}.parquet", 10)
    stalled, go_on = threading.Event(), threading.Event()

    def stall(request: Request) -> None:
        if request.is_object and request.key == "a/3.parquet" and not request.range:
            stalled.set()
            go_on.wait(60)

    variables = {"S3PQ_CONCURRENCY": "1", "S3PQ_CHECKPOINT_BYTES": str(checkpoint_bytes)}
    with dev(bucket, tmp_path, **variables) as webserver:
        bucket.proxy.before = stall
        run_id = webserver.materialize([[bucket.name, "a"]])
        assert stalled.wait(60)
        if checkpoint_bytes == 1:
            log = tmp_path / "dev.log"
            until(lambda: log.read_text(errors="replace").count("checkpoint_committed") == 3)
        asked = time.monotonic()
        assert (
            webserver.ask(TERMINATE, run=run_id)["terminateRun"]["__typename"]
            == "TerminateRunSuccess"
        )
        assert webserver.finished(run_id) == "CANCELED"
        assert time.monotonic() - asked < 20
        go_on.set()
        bucket.proxy.before = lambda _request: None
        if checkpoint_bytes == 1:
            rows = query(tmp_path, "SELECT _s3_key, count(*) FROM a GROUP BY 1 ORDER BY 1")
            entries = query(tmp_path, "SELECT key, rows FROM _s3pq_objects ORDER BY 1")
            assert rows == entries == [(f"a/{n}.parquet", 10) for n in range(3)]
        else:
            assert query(tmp_path, "SELECT count(*) FROM duckdb_tables()") == [(2,)]
            assert query(tmp_path, "SELECT count(*) FROM _s3pq_objects") == [(0,)]
        bucket.proxy.forget()
        assert webserver.finished(webserver.materialize([[bucket.name, "a"]])) == "SUCCESS"
        assert query(tmp_path, "SELECT count(*), count(DISTINCT _cq_id) FROM a") == [(60, 60)]
        expected = 3 if checkpoint_bytes == 1 else 6
        assert len(bucket.proxy.object_reads) == expected
