"""Whatever happens to a run, committed checkpoints stay and are not read again."""

import json
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

import dagster as dg
import pytest
from dagster._core.definitions.definitions_load_context import (  # noqa: TID251 - put back as it was
    DefinitionsLoadContext,
)

from s3pq_dagster import S3ParquetResource
from s3pq_dagster.dagster.discovery import discover
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.command_line import DAGSTER, environment, headless_sync
from s3pq_dagster_tests.crashes.six_objects import fill, keys, read
from s3pq_dagster_tests.crashes.steps import Kill
from s3pq_dagster_tests.crashes.trial import INSTANCE
from s3pq_dagster_tests.crashes.worker import Run, ended
from s3pq_dagster_tests.lake import Lake, materialized, names, observed
from s3pq_dagster_tests.proxy import Answer, Request

UNTOLD = Kill("store ASSET_MATERIALIZATION", 0, after=False)
"""Rows are committed, and Dagster does not know."""
ODD = Answer(409, b"<Error><Code>OperationAborted</Code><Message>odd</Message></Error>")
"""An answer that no request is repeated for, but a step is."""


@contextmanager
def at_home(home: Path) -> Iterator[dg.DagsterInstance]:
    """Open the instance of a ``DAGSTER_HOME``."""
    home.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        (home / "dagster.yaml").write_text(INSTANCE)
        with dg.DagsterInstance.get() as instance:
            yield instance


def once(number: int, answer: Answer) -> Callable[[Request], Answer | None]:
    """Answer the first request for an object with an error, whichever client sends it."""
    asked: list[Request] = []

    def before(request: Request) -> Answer | None:
        if request.key != f"a/{number}.parquet" or len(asked) == 2:
            return None
        asked.append(request)
        return answer

    return before


@pytest.mark.thorough
def test_a_terminated_run_leaves_its_committed_checkpoints(bucket: Bucket, tmp_path: Path) -> None:
    """After SIGTERM, which container orchestrators send, the next run reads only the rest."""
    fill(bucket)
    stalled, go_on = threading.Event(), threading.Event()

    def stall(request: Request) -> None:
        if request.is_object and request.key == "a/3.parquet" and not request.range:
            stalled.set()
            go_on.wait(60)

    bucket.proxy.before = stall
    variables = {"S3PQ_CONCURRENCY": "1", "S3PQ_CHECKPOINT_BYTES": "1"}
    command = [*DAGSTER, "asset", "materialize", "-m", "s3pq_dagster.definitions", "--select", "*"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(bucket, tmp_path, **variables),
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        until_committed(process.stderr, 3)
        assert stalled.wait(60)
        process.send_signal(signal.SIGTERM)
        threading.Timer(3, go_on.set).start()  # what is under way is waited for
        process.stderr.read()
        assert process.wait(60) != 0
    lake = Lake(bucket, dg.DagsterInstance.ephemeral(), tmp_path / "lake.duckdb")
    assert lake.rows_by_key("a") == dict.fromkeys(keys(range(3)), 10)
    assert list(lake.statuses("a")) == keys(range(3))
    bucket.proxy.before = lambda _request: None
    bucket.proxy.forget()
    assert headless_sync(bucket, tmp_path, **variables).returncode == 0
    assert read(bucket) == keys(range(3, 6))
    assert lake.rows_by_key("a") == dict.fromkeys(keys(range(6)), 10)


def until_committed(stderr: IO[bytes], checkpoints: int) -> None:
    """Follow a run's log until it has committed so many checkpoints."""
    seen = b""
    while seen.count(b"checkpoint_committed") < checkpoints:
        line = stderr.readline()
        assert line, seen.decode(errors="replace")
        seen += line


def test_a_step_that_is_retried_reads_only_the_rest(lake: Lake) -> None:
    """Dagster runs the whole op again, and the ledger says what is left."""
    lake.options = {"retry_policy": dg.RetryPolicy(max_retries=1)}
    definitions = lake.definitions()
    lake.bucket.proxy.forget()
    lake.bucket.proxy.before = once(3, ODD)
    result = lake.run(definitions=definitions)
    assert result.success
    assert result.retry_attempts_for_node("load_a") == 1
    often = Counter(read(lake.bucket))
    assert {key: often[key] for key in keys(range(3))} == dict.fromkeys(keys(range(3)), 1)
    assert often["a/3.parquet"] == 2 + 1
    assert lake.rows_by_key("a") == dict.fromkeys(keys(range(6)), 10)


@pytest.mark.thorough
def test_a_run_that_is_retried_from_its_failure_reads_only_the_rest(
    lake: Lake, tmp_path: Path
) -> None:
    """The UI's button and run retries start such a run."""
    facts = {
        "bucket": lake.bucket.name,
        "endpoint": lake.bucket.proxy.endpoint,
        "database": str(lake.database),
    }
    job = dg.build_reconstructable_job(
        "s3pq_dagster_tests.crashes.jobs", "job_of", reconstructable_kwargs=facts
    )
    # A job that is rebuilt leaves its mark on this process, as on a run worker.
    unmarked = DefinitionsLoadContext.scoped(DefinitionsLoadContext.get())
    with at_home(tmp_path / "home") as instance, unmarked:
        lake.bucket.proxy.before = once(3, ODD)
        with dg.execute_job(job, instance) as failed:
            assert not failed.success
        lake.bucket.proxy.forget()
        again = dg.ReexecutionOptions.from_failure(failed.run_id, instance)
        with dg.execute_job(job, instance, reexecution_options=again) as result:
            assert result.success
    assert set(read(lake.bucket)) == set(keys(range(3, 6)))
    assert lake.rows_by_key("a") == dict.fromkeys(keys(range(6)), 10)


def asked(lake: Lake, cursor: str | None, definitions: dg.Definitions) -> set[str]:
    """Return the tables for which a tick requests runs."""
    requests = lake.tick(cursor, definitions=definitions).run_requests or []
    return {name for request in requests for name in names(list(request.asset_selection or []))}


def test_a_run_that_was_asked_for_and_never_launched_is_asked_for_again(lake: Lake) -> None:
    """The daemon died after the cursor was saved; after the backoff the run key is another."""
    definitions = lake.definitions()
    first = lake.tick(definitions=definitions)
    later = json.loads(str(first.cursor))
    later["tables"]["a"]["at"] -= 61
    second = lake.tick(json.dumps(later), definitions=definitions)
    (before,), (after,) = first.run_requests or [], second.run_requests or []
    assert names(list(after.asset_selection or [])) == {"a"}
    assert before.run_key != after.run_key


def test_a_run_that_was_launched_without_its_cursor_saved_is_not_asked_for_again(
    lake: Lake,
) -> None:
    """The sensor sees what the run materialized."""
    definitions = lake.definitions()
    assert asked(lake, None, definitions) == {"a"}
    assert lake.run(definitions=definitions).success
    assert asked(lake, None, definitions) == set()


def test_a_run_that_was_created_and_never_launched_is_taken_for_dead(lake: Lake) -> None:
    """The daemon died between the two, so nobody will launch the run."""
    lake.options = {"stale_run_seconds": 0}
    definitions = lake.definitions()
    key = dg.AssetKey([lake.bucket.name, "a"])
    job = definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection={key})
    lake.instance.create_run_for_job(
        job, status=dg.DagsterRunStatus.NOT_STARTED, asset_selection=frozenset({key})
    )
    until(lambda: asked(lake, None, definitions) == {"a"})


def until(look: Callable[[], bool]) -> None:
    """Poll until a condition holds."""
    deadline = time.monotonic() + 60
    while not look():
        assert time.monotonic() < deadline


@pytest.mark.thorough
def test_a_killed_run_is_waited_for_and_then_taken_for_dead(bucket: Bucket, tmp_path: Path) -> None:
    """Dagster leaves the run started for ever; the sensor waits for a limited time."""
    fill(bucket)
    home = tmp_path / "home"
    with at_home(home) as instance:
        tables = discover(S3ParquetResource(**bucket.spec))
        killed = Run(home, "duckdb", f"duckdb:///{home}/lake.duckdb", bucket.spec, tables)
        assert ended(replace(killed, kill=UNTOLD)) is None
        (run,) = instance.get_runs()
        assert run.status is dg.DagsterRunStatus.STARTED
        lake = Lake(bucket, instance, home / "lake.duckdb")
        waiting = lake.tick(definitions=lake.definitions())
        assert not waiting.run_requests
        assert f"run in flight: a (run {run.run_id[:8]})" in str(waiting.skip_message)
        lake.options = {"stale_run_seconds": 0}
        definitions = lake.definitions()
        until(lambda: asked(lake, None, definitions) == {"a"})


@pytest.mark.thorough
def test_rows_whose_run_died_before_it_reported_them_are_reported_by_the_next(
    bucket: Bucket, tmp_path: Path
) -> None:
    """The next run materializes them for downstream assets, and reads nothing."""
    fill(bucket)
    home = tmp_path / "home"
    with at_home(home) as instance:
        run = Run(
            home,
            "duckdb",
            f"duckdb:///{home}/lake.duckdb",
            bucket.spec,
            discover(S3ParquetResource(**bucket.spec)),
        )
        assert ended(replace(run, kill=UNTOLD)) is None
        lake = Lake(bucket, instance, home / "lake.duckdb")
        definitions = lake.definitions()
        bucket.proxy.forget()
        result = lake.run(definitions=definitions)
        told = materialized(result)["a"].metadata
        assert (told["s3pq/rows"].value, told["dagster/row_count"].value) == (0, lake.rows("a"))
        assert read(bucket) == []
        assert not materialized(lake.run(definitions=definitions))


@pytest.mark.thorough
def test_without_dagsters_memory_nothing_is_read_again(bucket: Bucket, tmp_path: Path) -> None:
    """With a new ``DAGSTER_HOME`` a run reports what is loaded, and the sensor requests none."""
    fill(bucket)
    home, database = tmp_path / "home", tmp_path / "lake.duckdb"
    with at_home(home) as instance:
        assert Lake(bucket, instance, database).run().success
    shutil.rmtree(home)
    with at_home(home) as instance:
        lake = Lake(bucket, instance, database)
        definitions = lake.definitions()
        bucket.proxy.forget()
        for told in (materialized, observed):
            result = lake.run(definitions=definitions)
            assert result.success
            assert told(result)
        assert read(bucket) == []
        assert asked(lake, None, definitions) == set()
