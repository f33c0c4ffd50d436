"""Tables that appear in the bucket, and are loaded without a person who reloads anything."""

import operator
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from dagster._core.remote_origin import (  # noqa: TID251 - what a sensor's context has
    GrpcServerCodeLocationOrigin,
)
from tenacity import stop_after_delay

from demo.webserver import Webserver, dagster_dev
from s3pq_dagster.dagster.code_location import NotReloadedError, WebserverAddress, reload_of
from s3pq_dagster.dagster.partition_versions import recorded_versions
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.command_line import environment
from s3pq_dagster_tests.component.project import Project
from s3pq_dagster_tests.dagster.services import Services
from s3pq_dagster_tests.dagster.test_partitions import DAILY, day
from s3pq_dagster_tests.servers import free_port
from s3pq_dagster_tests.waiting import again_while

pytestmark = pytest.mark.timeout(400)
DEFINITIONS = """\
import dagster as dg
from s3pq_dagster import S3ParquetResource, build_s3_parquet_definitions

defs = build_s3_parquet_definitions(
    S3ParquetResource(**{spec!r}),
    destination="duckdb:///{database}",
    sensor_status=dg.DefaultSensorStatus.RUNNING,
    sensor_interval_seconds=3,
    reload_for_new_tables=True,
    webserver_url={webserver_url!r},
)
"""
ATTRIBUTES = """\
  bucket: {bucket}
  region: us-east-1
  endpoint_url: {endpoint}
  destination: duckdb:///{database}
  sensor:
    enabled: true
    interval_seconds: 3
    reload_for_new_tables: true
"""
TICKS = """
    query ($it: SensorSelector!) { sensorOrError(sensorSelector: $it) { ... on Sensor { sensorState
        { ticks { status skipReason runIds error { message } } } } } }
"""
RELOADED = "not loaded: not in the definitions yet, the code location was reloaded in "


def written(bucket: Bucket, home: Path, webserver_url: str | None = None, **spec: Any) -> Path:
    """Write a code location of one file."""
    path = home / "lake_defs.py"
    facts = {"spec": bucket.spec | spec, "database": home / "lake.duckdb"}
    path.write_text(DEFINITIONS.format(**facts, webserver_url=webserver_url))
    return path


def ticks(webserver: Webserver) -> list[dict[str, Any]]:
    """Return the sensor's ticks, the oldest first."""
    (location,) = webserver.ask(
        "{ workspaceOrError { ... on Workspace { locationEntries { name } } } }"
    )["workspaceOrError"]["locationEntries"]
    sensor = {
        "repositoryName": "__repository__",
        "repositoryLocationName": location["name"],
        "sensorName": "s3_parquet_sensor",
    }
    found = webserver.ask(TICKS, it=sensor)["sensorOrError"]
    return list(reversed(found["sensorState"]["ticks"]))


def until(look: Callable[[], Any], *, seconds: float = 150) -> Any:
    """Poll until there is a result."""
    return again_while(operator.not_, stop_after_delay(seconds))(look)


def rows(home: Path, table: str = "new") -> int | None:
    """Count the rows of a table, once it is there and no run has the file open."""
    try:
        with duckdb.connect(str(home / "lake.duckdb"), read_only=True) as connection:
            return int(connection.table(table).count("*").fetchall()[0][0])
    except (duckdb.IOException, duckdb.CatalogException):
        return None


def loads_a_new_table(webserver: Webserver, bucket: Bucket, home: Path) -> list[str]:
    """Put a new table, and wait until it is loaded; return what the ticks said of reloads."""
    assert webserver.assets() == [[bucket.name, "old"]]
    until(lambda: any(tick["runIds"] for tick in ticks(webserver)))
    bucket.put("new/1.parquet", 5)
    assert until(lambda: rows(home)) == 5
    found = until(lambda: len(webserver.assets()) == 2 and ticks(webserver))
    assert [tick for tick in found if tick["error"]] == []
    reasons = [str(tick["skipReason"]) for tick in found]
    return [reason for reason in reasons if reason.startswith("not loaded: ")]


@pytest.mark.nightly
def test_under_dagster_dev_a_new_table_is_loaded(bucket: Bucket, tmp_path: Path) -> None:
    """One reload, which the tick tells; the next tick loads the table, and the UI has it."""
    bucket.put("old/1.parquet", 2)
    workspace = tmp_path / "workspace.yaml"
    workspace.write_text(f"load_from:\n  - python_file: {written(bucket, tmp_path)}\n")
    environ = environment(bucket, tmp_path)
    with dagster_dev(free_port(), environ, tmp_path / "dev.log", workspace=workspace) as webserver:
        (said,) = loads_a_new_table(webserver, bucket, tmp_path)
    assert said.startswith(RELOADED)
    assert ", the next tick loads them: new; " in said


@pytest.mark.nightly
def test_partitions_that_the_definitions_lack_are_loaded(bucket: Bucket, tmp_path: Path) -> None:
    """A text that was not there, and a day before the first: named, reloaded and asked for."""
    static = {"match": "stock/{country}/*.parquet", "partitions": "static(country)"}
    layout = {"rules": [DAILY, static]}
    bucket.put(day(5), 2)
    bucket.put("stock/fr/1.parquet", 3)
    workspace = tmp_path / "workspace.yaml"
    path = written(bucket, tmp_path, layout=layout)
    workspace.write_text(f"load_from:\n  - python_file: {path}\n")
    environ = environment(bucket, tmp_path)
    with dagster_dev(free_port(), environ, tmp_path / "dev.log", workspace=workspace) as webserver:
        until(lambda: (rows(tmp_path, "events"), rows(tmp_path, "stock")) == (2, 3))
        bucket.put(day(3), 5)
        bucket.put("stock/de/1.parquet", 7)
        until(lambda: (rows(tmp_path, "events"), rows(tmp_path, "stock")) == (7, 10))
        found = until(lambda: _rest(webserver))
    assert [tick for tick in found if tick["error"]] == []
    named = [reason for tick in found if (reason := str(tick["skipReason"])).startswith(RELOADED)]
    assert 1 <= len(named) <= 2, "the second one may come a tick later"
    said = "; ".join(named)
    assert "events 2024-01-03" in said
    assert "stock de" in said
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        tables = [dg.AssetKey([bucket.name, name]) for name in ("events", "stock")]
        events, stock = (recorded_versions(instance, table).keys() for table in tables)
    assert {"2024-01-03", "2024-01-05"} <= events
    assert stock == {"de", "fr"}


def _rest(webserver: Webserver) -> list[dict[str, Any]] | None:
    """Return all ticks, once the newest of them has nothing to do."""
    found = ticks(webserver)
    return found if str(found[-1]["skipReason"]).startswith("nothing new: ") else None


@pytest.mark.nightly
def test_webserver_daemon_and_code_server_apart(bucket: Bucket, tmp_path: Path) -> None:
    """A component's state is refreshed, the code server reloads, webserver and daemon follow."""
    bucket.put("old/1.parquet", 2)
    project = Project.make(tmp_path / "my_project")
    facts = {"bucket": bucket.name, "endpoint": bucket.proxy.endpoint}
    project.write(ATTRIBUTES.format(**facts, database=tmp_path / "lake.duckdb"))
    done = project.dg("utils", "refresh-defs-state")
    assert done.returncode == 0, done.stdout
    path = os.pathsep.join([str(project.root / "src"), os.environ.get("PYTHONPATH", "")])
    services = Services(tmp_path, environment(bucket, tmp_path) | {"PYTHONPATH": path})
    target = ("-m", "my_project.definitions", "-d", str(project.root))
    with services.code_server(*target) as port:
        load_from = f"grpc_server: {{host: 127.0.0.1, port: {port}, location_name: lake}}"
        with services.webserver_and_daemon(load_from, free_port()) as webserver:
            (said,) = loads_a_new_table(webserver, bucket, tmp_path)
    assert said.startswith(RELOADED)


@pytest.mark.nightly
def test_where_each_process_loads_the_code_itself(bucket: Bucket, tmp_path: Path) -> None:
    """The webserver reloads its own server; the daemon replaces its own once a minute."""
    bucket.put("old/1.parquet", 2)
    port = free_port()
    path = written(bucket, tmp_path, f"http://127.0.0.1:{port}")
    services = Services(tmp_path, environment(bucket, tmp_path))
    with services.webserver_and_daemon(f"python_file: {path}", port) as webserver:
        first, *_ = loads_a_new_table(webserver, bucket, tmp_path)
    assert first.startswith(RELOADED)


@pytest.mark.thorough
def test_a_code_server_reloads_and_another_kind_is_named(bucket: Bucket, tmp_path: Path) -> None:
    """`dagster code-server start` is another one afterwards; `dagster api grpc` stays as it was.

    Where definitions are broken meanwhile, the reason says so; where no server answers, what to do.
    """
    path = tmp_path / "nothing.py"
    path.write_text("import dagster as dg\ndefs = dg.Definitions()\n")
    services, target = Services(tmp_path, environment(bucket, tmp_path)), ("-f", str(path))

    def asked(port: int, webserver: WebserverAddress | None = None) -> str:
        origin = GrpcServerCodeLocationOrigin(host="127.0.0.1", port=port, location_name="lake")
        ask = reload_of(origin, webserver)
        assert callable(ask)
        try:
            return ask()
        except NotReloadedError as error:
            return str(error)

    with (
        services.code_server(*target) as port,
        services.code_server(*target, kind=("api", "grpc")) as other,
    ):
        assert asked(port) == "the next tick loads them"
        assert asked(other).startswith("the code server stayed as it was: start it by")
        path.write_text("1 / 0")
        broken = "the definitions cannot be loaded any more: "
        assert asked(port).startswith(broken)
    assert "give a `webserver_url`" in asked(free_port())
    webserver = WebserverAddress.of(f"http://127.0.0.1:{free_port()}")
    assert asked(free_port(), webserver).startswith("no Dagster webserver answers at")
