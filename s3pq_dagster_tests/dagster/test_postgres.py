"""PostgreSQL as a destination, through Dagster, and its password, which nothing shows."""

import json
import logging
import traceback
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pyarrow as pa
import pytest

from s3pq_dagster import (
    S3ParquetPostgresIOManager,
    S3ParquetResource,
    build_io_manager,
    build_s3_parquet_definitions,
)
from s3pq_dagster.destinations.postgres.names import stored_name
from s3pq_dagster.errors import ConfigurationError
from s3pq_dagster_tests.buckets import Bucket, numbers
from s3pq_dagster_tests.command_line import headless_sync
from s3pq_dagster_tests.dagster.test_graphql import dev
from s3pq_dagster_tests.dagster.test_user_stories import failure
from s3pq_dagster_tests.destinations.places.postgres import PostgresPlace, role, url_of
from s3pq_dagster_tests.lake import materialized, values

CANARY = "canary@pass/word#1"
ENCODED = "canary%40pass%2Fword%231"
PIECES = ("canary", "pass/word", "pass%2Fword", "word#1", "word%231")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[PostgresPlace]:
    """A new database."""
    found = PostgresPlace(tmp_path)
    yield found
    found.discard()


@pytest.fixture
def secret_url(place: PostgresPlace) -> Iterator[str]:
    """The database for a user whose password is the canary."""
    name = f"u_{uuid.uuid4().hex}"
    with role(name, CANARY):
        place.run(f"GRANT CREATE, USAGE ON SCHEMA public TO {name}")
        yield url_of(place.database, f"{name}:{ENCODED}")
        place.run(f"DROP OWNED BY {name}")


def assert_clean(*texts: str) -> None:
    """Assert that no piece of the canary is in any of these."""
    for text in texts:
        assert not [piece for piece in PIECES if piece in text]


def definitions_of(bucket: Bucket, manager: Any, *more: Any) -> dg.Definitions:
    """Build definitions over a bucket."""
    made = build_s3_parquet_definitions(
        S3ParquetResource(**bucket.spec), destination=manager, retry_policy=None
    )
    return dg.Definitions.merge(made, dg.Definitions(list(more)))


def run(definitions: dg.Definitions, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    """Materialize everything."""
    job = definitions.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(instance=instance, raise_on_error=False)


def test_tables_are_loaded_and_read_downstream(
    bucket: Bucket, instance: dg.DagsterInstance, place: PostgresPlace
) -> None:
    """A downstream asset gets the files' rows, and the event says where the table is."""
    bucket.put("a/1.parquet", numbers(3))
    bucket.put("a/2.parquet", numbers(2, start=3))
    got: list[Any] = []

    def body(table: pl.DataFrame) -> None:
        got.append(table)

    key = dg.AssetKey([bucket.name, "a"])
    child = dg.asset(name="child", ins={"table": dg.AssetIn(key)})(body)
    result = run(definitions_of(bucket, place.url, child), instance)
    assert result.success, failure(result, "child")
    assert sorted(got[0]["id"].to_list()) == [0, 1, 2, 3, 4]
    assert got[0].columns == ["id", "text", "_cq_id", "_cq_parent_id", "_s3_key"]
    said = values(materialized(result)["a"])
    assert said["dagster/storage_kind"] == "postgres"
    assert said["dagster/table_name"] == "public.a"
    assert said["dagster/row_count"] == 5
    again = run(definitions_of(bucket, place.url), instance)
    assert again.success
    assert not materialized(again)
    assert place.run("SELECT count(*), count(DISTINCT _cq_id) FROM a") == [(5, 5)]


def test_the_asset_shows_a_long_name_as_it_is_in_the_database(
    bucket: Bucket, instance: dg.DagsterInstance, place: PostgresPlace
) -> None:
    """The asset shows the name under which SQL finds the table."""
    name = "t" * 80
    bucket.put(f"{name}/1.parquet", 1)
    said = values(materialized(run(definitions_of(bucket, place.url), instance))[name])
    assert said["dagster/table_name"] == f"public.{stored_name(name)}"
    assert place.run(f"SELECT count(*) FROM {said['dagster/table_name']}") == [(1,)]


def test_a_url_from_the_environment_shows_its_password_nowhere(
    bucket: Bucket,
    instance: dg.DagsterInstance,
    secret_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No password is in the stored resource, in events, or in any form of the IO manager."""
    monkeypatch.setenv("LAKE_URL", secret_url)
    bucket.put("a/1.parquet", 1)
    manager = S3ParquetPostgresIOManager(url=dg.EnvVar("LAKE_URL"))
    definitions = definitions_of(bucket, manager)
    result = run(definitions, instance)
    assert result.success, failure(result, "load_a")
    with manager.process_config_and_initialize_cm() as opened:
        destination = opened.destination(logging.getLogger())
        assert_clean(*(show(x) for x in (manager, opened, destination) for show in (repr, str)))
        assert_clean(repr(vars(destination)))
    assert_clean(*(dg.serialize_value(e) for e in instance.all_logs(result.run_id)))
    assert_clean(dg.serialize_value(instance.get_run_by_id(result.run_id)))


def test_a_password_that_is_wrong_is_not_shown_either(
    bucket: Bucket,
    instance: dg.DagsterInstance,
    secret_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The failure, its causes and their traceback are clean, and it is not retried."""
    monkeypatch.setenv("LAKE_URL", secret_url.replace(ENCODED, f"{ENCODED}%21"))
    bucket.put("a/1.parquet", 1)
    manager = S3ParquetPostgresIOManager(url=dg.EnvVar("LAKE_URL"))
    result = run(definitions_of(bucket, manager), instance)
    said = failure(result, "load_a")
    assert "refuses the connection" in said
    assert_clean(said, *(dg.serialize_value(e) for e in instance.all_logs(result.run_id)))
    with manager.process_config_and_initialize_cm() as opened:
        context = dg.build_input_context(
            asset_key=dg.AssetKey([bucket.name, "a"]),
            dagster_type=dg.PythonObjectDagsterType(pa.Table),
        )
        with pytest.raises(dg.Failure) as caught:
            opened.load_input(context)
    assert_clean("".join(traceback.format_exception(caught.value)))


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_the_ui_shows_the_variable_and_not_the_url(
    bucket: Bucket, tmp_path: Path, secret_url: str, place: PostgresPlace
) -> None:
    """GraphQL shows no URL in the resource's configuration, in a run, or in its events."""
    bucket.put("a/1.parquet", 3)
    with dev(bucket, tmp_path, S3PQ_DESTINATION=secret_url) as webserver:
        run_id = webserver.materialize([[bucket.name, "a"]])
        assert webserver.finished(run_id) == "SUCCESS"
        resources = webserver.ask(
            "{ repositoriesOrError { ... on RepositoryConnection { nodes { "
            "allTopLevelResourceDetails { name configuredValues { key value type } "
            "configFields { name defaultValueAsJson } } } } } }"
        )
        events = webserver.ask(
            "query ($run: ID!) { logsForRun(runId: $run) { ... on EventConnection { events { "
            "... on MessageEvent { message } } } } "
            "runOrError(runId: $run) { ... on Run { runConfigYaml tags { key value } } } }",
            run=run_id,
        )
    assert '{"key": "url", "value": "S3PQ_DESTINATION", "type": "ENV_VAR"}' in json.dumps(resources)
    assert_clean(json.dumps(resources), json.dumps(events))
    assert place.run("SELECT count(*) FROM a") == [(3,)]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert_clean(*(path.read_bytes().decode("latin-1") for path in files))


@pytest.mark.nightly
def test_a_headless_sync_writes_no_secret(
    bucket: Bucket, tmp_path: Path, secret_url: str, place: PostgresPlace
) -> None:
    """The output is clean if the sync works, may not log in, or has a wrong URL."""
    bucket.put("a/1.parquet", 2)
    wrong = secret_url.replace(ENCODED, f"{ENCODED}%21")
    odd = secret_url.replace(ENCODED, CANARY)
    urls = {secret_url: 0, wrong: 1, odd: 1}
    done = {url: headless_sync(bucket, tmp_path, S3PQ_DESTINATION=url) for url in urls}
    assert {url: each.returncode for url, each in done.items()} == urls
    assert "refuses the connection" in done[wrong].stderr
    assert "percent-encode" in done[odd].stderr
    assert_clean(*(text for each in done.values() for text in (each.stdout, each.stderr)))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in files)
    assert_clean(*(path.read_bytes().decode("latin-1") for path in files))
    assert place.run("SELECT count(*) FROM a") == [(2,)]


@pytest.mark.parametrize(
    "url", ["postgresql://me:canary@h/lake", "postgres://h/lake?password=canary"]
)
def test_a_password_in_plain_is_refused(bucket: Bucket, url: str) -> None:
    """The UI shows a resource's configuration; the error says where a password may be."""
    bucket.put("a/1.parquet", 1)
    for make in (
        lambda: build_io_manager(url),
        lambda: definitions_of(bucket, url),
        lambda: definitions_of(bucket, S3ParquetPostgresIOManager(url=url)),
    ):
        with pytest.raises(ConfigurationError, match=r"PGPASSWORD.*S3PQ_DESTINATION.*EnvVar") as e:
            make()
        assert_clean("".join(traceback.format_exception(e.value)))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://me@h", "must name one database"),
        ("postgresql://me@h:port/lake", "host or port"),
        ("postgresql+psycopg2://me:canary@h/lake", r"postgresql\+psycopg2://….*Use"),
        ("mysql://me:can/ary@h/lake", "mysql://…"),
        ("postgresql:lake", "postgresql:lake"),
    ],
)
def test_a_url_that_is_none_is_an_error_at_once(url: str, said: str) -> None:
    """The error shows how a URL is written, and nothing that may be secret."""
    with pytest.raises(ConfigurationError, match=said) as caught:
        build_io_manager(url)
    assert "postgresql://user@host:5432/database" in str(caught.value)
    assert_clean(str(caught.value))
    assert "ary" not in str(caught.value)


def test_a_variable_without_a_url_is_named() -> None:
    """Building the definitions fails with the variable's name."""
    with pytest.raises(ConfigurationError, match="S3PQ_NO_SUCH_VARIABLE is not set"):
        build_io_manager(dg.EnvVar("S3PQ_NO_SUCH_VARIABLE"))
