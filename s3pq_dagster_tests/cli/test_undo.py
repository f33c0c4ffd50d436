"""`s3pq undo`: a bad load is taken back, as a user types it."""

from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

from s3pq_dagster.cli import main
from s3pq_dagster_tests.cli.conftest import CommandLine
from s3pq_dagster_tests.cli.loads import load
from s3pq_dagster_tests.destinations.places import Place, held
from s3pq_dagster_tests.destinations.tables import ids_by_key

GOOD = {"orders/a.parquet": [1, 2]}
LOADED = GOOD | {"orders/b.parquet": [3], "orders/c.parquet": [4]}


@pytest.fixture
def variables(s3pq: CommandLine, place: Place) -> dict[str, str]:
    """Load an object in one run, and two in another; return what names the destination."""
    for run_id, keys in (("good-1", list(GOOD)), ("bad-2", list(LOADED)[1:])):
        for key in keys:
            s3pq.bucket.put(key, pa.table({"id": LOADED[key]}))
        load(s3pq.bucket, place.url, run_id=run_id)
    return {"S3PQ_DESTINATION": place.url}


def answered(s3pq: CommandLine, variables: dict[str, str], *words: str, answer: str) -> Any:
    """Run a command that asks, and answer."""
    environment = s3pq.environment | variables
    return CliRunner().invoke(main, words, input=answer, prog_name="s3pq", env=environment)


def test_it_says_what_it_will_do_and_asks(
    s3pq: CommandLine, place: Place, variables: dict[str, str]
) -> None:
    """No answer and the answer no touch nothing; yes does it, and no run brings it back."""
    words = ("undo", "bad", "--table", "orders")
    for answer in ("n\n", ""):
        said = answered(s3pq, variables, *words, answer=answer)
        assert said.exit_code == 1
        assert "run bad-2, from 20" in said.output
        assert "loaded 2 objects with 2 rows that are there:" in said.output
        assert "orders/b.parquet" in said.output
        assert ids_by_key(place.open(), "orders") == LOADED
    said = answered(s3pq, variables, *words, answer="y\n")
    assert said.exit_code == 0
    assert "Done: 2 rows deleted, 2 objects set aside." in said.output
    assert ids_by_key(place.open(), "orders") == GOOD
    assert s3pq("plan", **variables).code == 0
    shown = s3pq("status", "-t", "orders", **variables)
    assert "set aside orders/b.parquet: undone: run bad-2" in shown.out


def test_a_script_says_yes_and_reads_json(s3pq: CommandLine, variables: dict[str, str]) -> None:
    """JSON asks nothing, so it has to be told."""
    refused = s3pq("undo", "bad-2", "-t", "orders", "--json", **variables)
    assert (refused.code, refused.out) == (1, "")
    assert "--json asks nothing, so it needs --yes" in refused.err
    assert s3pq("undo", "bad-2", "-t", "orders", "--json", "--yes", **variables).json == {
        "run_id": "bad-2",
        "table": "orders",
        "deleted_rows": 2,
        "objects": ["orders/b.parquet", "orders/c.parquet"],
        "reason": "undone: run bad-2",
    }
    again = s3pq("undo", "bad-2", "-t", "orders", "-y", **variables)
    assert again.code == 1
    assert "UndoRefusedError" in again.err
    assert "taken back already" in again.err


def test_what_cannot_be_meant_is_told(s3pq: CommandLine) -> None:
    """A run or table that is not known, and a table that was never loaded: nothing is created."""
    s3pq.bucket.put("orders/a.parquet", 1)
    before = s3pq.files()
    never = s3pq("undo", "x", "-t", "orders")
    assert never.code == 1
    assert "The table was never loaded." in never.err
    other = s3pq("undo", "x", "-t", "ordres")
    assert other.code == 1
    assert "there is no table 'ordres' in the bucket; there is orders" in other.err
    missing = s3pq("undo", "x")
    assert missing.code == 1
    assert "--table" in missing.err
    assert s3pq.files() == before


@pytest.mark.thorough
def test_a_table_that_is_being_written_is_left_alone(
    s3pq: CommandLine, place: Place, variables: dict[str, str]
) -> None:
    """It waits for seconds, not as long as a run does, and says that the table is locked."""
    with held(place, "orders"):
        said = s3pq("undo", "bad-2", "-t", "orders", "--yes", **variables)
    assert said.code == 1
    assert "DestinationLockedError" in said.err
    assert ids_by_key(place.open(), "orders") == LOADED
    assert s3pq("undo", "bad-2", "-t", "orders", "--yes", **variables).code == 0
