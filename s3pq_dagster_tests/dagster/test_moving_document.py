"""The steps of `docs/duckdb-to-postgresql.md` lead from DuckDB to PostgreSQL."""

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.destinations.places.postgres import PostgresPlace, run_on_server
from s3pq_dagster_tests.lake import Lake
from s3pq_dagster_tests.pages import DOCS

PAGE = (DOCS / "duckdb-to-postgresql.md").read_text("utf-8")
_FENCED = r"^```{}\n(.*?)^```$"
PYTHON, *_ = re.findall(_FENCED.format("python"), PAGE, re.MULTILINE | re.DOTALL)
GRANTS, COMPARED = re.findall(_FENCED.format("sql"), PAGE, re.MULTILINE | re.DOTALL)
URL = "postgresql://loader@db:5432/warehouse"
ROWS = {"orders/2024/a.parquet": 3, "orders/2024/b.parquet": 2}


@pytest.fixture
def lake(
    bucket: Bucket, instance: dg.DagsterInstance, database: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Lake]:
    """Make the bucket ``lake`` with a table."""
    named = Bucket("lake", bucket.client, bucket.proxy)
    named.client.create_bucket(Bucket=named.name)
    for key, rows in ROWS.items():
        named.put(key, rows)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", bucket.proxy.endpoint)
    yield Lake(named, instance, database)
    for key in ROWS:
        named.delete(key)
    named.client.delete_bucket(Bucket=named.name)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[PostgresPlace]:
    """Make a database with the rights of the page, for a user of its own."""
    place, user = PostgresPlace(tmp_path), f"loader_{uuid.uuid4().hex}"
    run_on_server(f"CREATE ROLE {user} LOGIN")
    for statement in filter(str.strip, GRANTS.replace("loader", user).split(";")):
        place.run(statement)
    place.url = re.sub(r"//[^@/]*@", f"//{user}@", place.url)
    yield place
    place.discard()
    run_on_server(f"DROP ROLE {user}")


def test_the_steps_of_the_page_load_everything_once(lake: Lake, place: PostgresPlace) -> None:
    """The sensor asks for every table, rows keep their ids, and the file still knows its own."""
    assert lake.run().success
    assert not lake.tick().run_requests
    assert URL in PYTHON
    namespace: dict[str, Any] = {}
    exec(compile(PYTHON.replace(URL, place.url), "the page", "exec"), namespace)
    moved: dg.Definitions = namespace["defs"]
    assert [r.asset_selection for r in lake.tick(definitions=moved).run_requests] == [
        [dg.AssetKey(["lake", "orders_2024"])]
    ]
    assert lake.run(definitions=moved).success
    ids = "SELECT _s3_key, _cq_id::text FROM {}orders_2024 ORDER BY 1, 2"
    assert place.run(ids.format("lake.")) == lake.query(ids.format(""))
    there = place.run(COMPARED.replace("FROM _s3pq", "FROM lake._s3pq").rstrip().rstrip(";"))
    assert [(*found[:3], int(found[3])) for found in there] == lake.query(COMPARED)
    lake.bucket.proxy.forget()
    assert lake.run().success
    assert lake.bucket.proxy.object_reads == []
