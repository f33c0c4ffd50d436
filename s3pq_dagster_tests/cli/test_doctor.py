"""`s3pq doctor`: each line is ok, or says what to do."""

import uuid
from pathlib import Path

import pytest

from s3pq_dagster_tests.cli.conftest import CommandLine, Said
from s3pq_dagster_tests.cli.loads import load
from s3pq_dagster_tests.destinations.places import PLACES, Place, held
from s3pq_dagster_tests.destinations.places.postgres import PostgresPlace, role, url_of
from s3pq_dagster_tests.servers import SECRET_KEY

CHECKS = [
    *("bucket", "credentials", "list", "get", "clock"),
    *("destination", "writable", "locks", "tables", "rows", "memory", "DAGSTER_HOME"),
]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set DAGSTER_HOME to a directory that is there."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))


def failing(said: Said) -> dict[str, str]:
    """Return what is found by the checks that are not ok, by name."""
    return {check["check"]: check["found"] for check in said.json["checks"] if not check["ok"]}


def test_all_is_ok_and_nothing_is_written(s3pq: CommandLine, place: Place) -> None:
    """Before a first load and after it, in each destination; the exit code is 0."""
    variables = {"S3PQ_DESTINATION": place.url}
    s3pq.bucket.put("orders/a.parquet", 3)
    for rows in (0, 3):
        before = s3pq.files()
        said = s3pq("doctor", "--json", **variables)
        assert failing(said) == {}
        assert (said.code, said.json["ok"]) == (0, True)
        assert [check["check"] for check in said.json["checks"]] == CHECKS
        assert said.json["checks"][CHECKS.index("rows")]["found"].startswith(f"{rows} rows")
        assert s3pq.files() == before
        load(s3pq.bucket, place.url)
    plain = s3pq("doctor", **variables)
    assert [line.split()[:2] for line in plain.out.splitlines()] == [["ok", n] for n in CHECKS]


def test_rows_that_the_ledger_does_not_have_are_found(s3pq: CommandLine, place: Place) -> None:
    """Somebody deleted rows: the line says what to do; `--no-rows` leaves the check out."""
    s3pq.bucket.put("orders/a.parquet", 3)
    s3pq.bucket.put("orders/b.parquet", 1)
    load(s3pq.bucket, place.url)
    place.delete_rows("orders", "orders/a.parquet")
    variables = {"S3PQ_DESTINATION": place.url}
    said = s3pq("doctor", "--json", **variables)
    assert said.code == 1
    assert failing(said) == {
        "rows": "orders: 1 objects differ, orders/a.parquet has 0 rows and 3 by the ledger: run it "
        "with full_refresh: true"
    }
    assert s3pq("doctor", "--no-rows", **variables).code == 0


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["postgres", "delta", "parquet"])
def test_who_writes_a_table_is_named(s3pq: CommandLine, tmp_path: Path, kind: str) -> None:
    """A table that another process has locked is looked at all the same, without waiting."""
    place = PLACES[kind](tmp_path)
    s3pq.bucket.put("orders/a.parquet", 3)
    load(s3pq.bucket, place.url)
    with held(place, "orders"):
        said = s3pq("doctor", "--json", S3PQ_DESTINATION=place.url)
    assert said.code == 0
    (locks,) = (check for check in said.json["checks"] if check["check"] == "locks")
    assert locks["found"].startswith("orders is written by ")
    place.discard()


@pytest.mark.thorough
def test_a_duckdb_file_that_is_open_elsewhere_is_told(s3pq: CommandLine, tmp_path: Path) -> None:
    """While a run has it open nobody reads it: the line says so, and the exit code is 1."""
    place = PLACES["duckdb"](tmp_path)
    s3pq.bucket.put("orders/a.parquet", 3)
    load(s3pq.bucket, place.url)
    with held(place, "orders"):
        said = s3pq("doctor", "--json", S3PQ_DESTINATION=place.url)
    assert said.code == 1
    assert "DestinationLockedError: " in failing(said)["tables"]


def test_a_bucket_that_is_not_there_does_not_hide_the_rest(s3pq: CommandLine) -> None:
    """What the bucket is needed for is left out; destination and machine are checked."""
    said = s3pq("doctor", "--json", S3PQ_BUCKET="is-not-there")
    assert said.code == 1
    assert list(failing(said)) == ["list"]
    assert failing(said)["list"].startswith("BucketNotFoundError: ")
    names = [check["check"] for check in said.json["checks"]]
    assert names == [n for n in CHECKS if n not in ("get", "tables", "rows")]


def test_a_role_that_may_not_create_tables_is_told(s3pq: CommandLine, tmp_path: Path) -> None:
    """Without trying: PostgreSQL says which privileges a role has."""
    place, name = PostgresPlace(tmp_path), f"s3pq_{uuid.uuid4().hex}"
    s3pq.bucket.put("orders/a.parquet", 1)
    with role(name, "secret-of-a-role"):
        url = url_of(place.database, f"{name}:secret-of-a-role")
        said = s3pq("doctor", "--json", S3PQ_DESTINATION=url)
    place.discard()
    expected = "this role may not create tables in schema 'public': grant it USAGE and CREATE"
    assert failing(said) == {"writable": expected}
    assert "secret-of-a-role" not in said.out + said.err


def test_nothing_of_secrets_is_printed(s3pq: CommandLine) -> None:
    """Neither the key nor a password in a URL, whether the server is there or not."""
    s3pq.bucket.put("orders/a.parquet", 1)
    url = "postgresql://somebody:hunter2-secret@127.0.0.1:1/lake"
    for words in (["doctor"], ["doctor", "--json"], ["plan"], ["status"]):
        said = s3pq(*words, S3PQ_DESTINATION=url, AWS_SESSION_TOKEN="a-token-of-a-session")
        assert said.code == 1
        for secret in ("hunter2", SECRET_KEY, "a-token-of"):
            assert secret not in said.out + said.err
        assert "127.0.0.1:1" in said.out + said.err


def test_the_caller_is_who_sts_says(s3pq: CommandLine, moto: str) -> None:
    """Where STS answers, the ARN is shown; else the key's id, masked."""
    masked = s3pq("doctor", "--json").json["checks"][1]["found"]
    assert masked == "key s3pq…demo, by env"
    named = s3pq("doctor", "--json", AWS_ENDPOINT_URL_STS=moto).json["checks"][1]["found"]
    assert named.startswith("arn:aws:")


def test_what_is_wrong_with_the_machine_is_told(s3pq: CommandLine) -> None:
    """Bounds beyond memory, and a DAGSTER_HOME that is not there or not set."""
    large = {"S3PQ_MAX_DECODED_BYTES": str(1024**5)}
    said = s3pq("doctor", "--json", DAGSTER_HOME="no/such", **large)
    assert set(failing(said)) == {"memory", "DAGSTER_HOME"}
    assert "lower max_decoded_bytes" in failing(said)["memory"]
    assert "no/such is no directory" in failing(said)["DAGSTER_HOME"]
    assert (
        "set it to a directory"
        in failing(s3pq("doctor", "--json", DAGSTER_HOME=""))["DAGSTER_HOME"]
    )


def test_tables_that_fail_are_named(s3pq: CommandLine) -> None:
    """With the error that their runs have."""
    for key in ("a b/1.parquet", "a-b/1.parquet"):
        s3pq.bucket.put(key, 1)
    said = s3pq("doctor", "--json")
    assert failing(said)["tables"].startswith("a_b: TableNameCollisionError: ")


def test_a_table_that_is_not_there_has_a_line(s3pq: CommandLine) -> None:
    """A mistyped name is no table that is well: the line says which there are, and the code is 1.

    Where the name is a table's, the line is ok; without `--table` there is none.
    """
    s3pq.bucket.put("orders/a.parquet", 1)
    said = s3pq("doctor", "--table", "orders", "--table", "ordres", "--json")
    assert (said.code, said.json["ok"]) == (1, False)
    expected = "ConfigurationError: there is no table 'ordres' in the bucket; there is orders"
    assert failing(said) == {"--table": expected}
    plain = s3pq("doctor", "--table", "ordres")
    assert (plain.code, plain.err) == (1, "")
    assert plain.words("FAIL")[:2] == ["FAIL", "--table"]
    right = s3pq("doctor", "--table", "ord*", "--json")
    assert right.code == 0
    assert right.json["checks"][-2] == {
        "source": None,
        "check": "--table",
        "ok": True,
        "found": "1 of 1 table",
    }


def test_a_table_that_is_not_there_is_told_whatever_the_destination(s3pq: CommandLine) -> None:
    """The bucket alone says it; where that cannot be listed, nothing is said of the name."""
    s3pq.bucket.put("orders/a.parquet", 1)
    url = "postgresql://somebody@127.0.0.1:1/lake"
    said = s3pq("doctor", "--table", "ordres", "--json", S3PQ_DESTINATION=url)
    assert set(failing(said)) == {"destination", "--table"}
    unlisted = s3pq("doctor", "--table", "ordres", "--json", S3PQ_BUCKET="is-not-there")
    assert list(failing(unlisted)) == ["list"]
