"""Each object's rows are there exactly once, whatever its LastModified."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from s3pq_dagster.errors import MalformedObjectError
from s3pq_dagster_tests.buckets import numbers, parquet
from s3pq_dagster_tests.dagster.test_user_stories import failure
from s3pq_dagster_tests.lake import Lake, materialized, messages, observed, values
from s3pq_dagster_tests.levels import first_of
from s3pq_dagster_tests.proxy import Answer, Request

NOON = datetime(2024, 5, 6, 12, tzinfo=UTC)


def cursor(lake: Lake, table: str) -> datetime:
    """Return a table's stored cursor."""
    found = lake.query(f"SELECT cursor FROM _s3pq_tables WHERE table_name = '{table}'")
    return found[0][0].astimezone(UTC)  # type: ignore[no-any-return]


def test_an_object_from_before_the_cursor_loads(lake: Lake) -> None:
    """A late, multipart or replicated object is in the listing and not in the ledger."""
    lake.bucket.put("a/1.parquet", 2)
    lake.bucket.set_last_modified("a/1.parquet", NOON)
    lake.run()
    assert cursor(lake, "a") == NOON
    lake.bucket.put("a/0.parquet", 3)
    lake.bucket.set_last_modified("a/0.parquet", NOON - timedelta(hours=3))
    result = lake.run()
    assert values(materialized(result)["a"])["s3pq/rows"] == 3
    assert lake.rows("a") == 5
    assert cursor(lake, "a") == NOON


@pytest.mark.thorough
def test_an_object_put_again_with_equal_bytes_loads_nothing(lake: Lake) -> None:
    """The e_tag is the same, and LastModified does not count."""
    lake.bucket.put("a/1.parquet", parquet(numbers(2)))
    lake.run()
    definitions = lake.definitions()
    lake.bucket.put("a/1.parquet", parquet(numbers(2)))
    lake.bucket.set_last_modified("a/1.parquet", datetime.now(UTC) + timedelta(hours=1))
    lake.bucket.proxy.forget()
    result = lake.run(definitions=definitions)
    assert not materialized(result)
    assert lake.bucket.proxy.object_reads == []


def test_the_cursor_does_not_move_past_a_malformed_object(lake: Lake) -> None:
    """The cursor is the latest LastModified of what is loaded."""
    lake.bucket.put("a/1.parquet", 1)
    lake.bucket.set_last_modified("a/1.parquet", NOON)
    lake.bucket.put("a/2.parquet", b"malformed")
    lake.bucket.set_last_modified("a/2.parquet", NOON + timedelta(hours=1))
    result = lake.run()
    assert cursor(lake, "a") == NOON
    key = f"s3/{lake.bucket.name}/a/last_modified_cursor"
    assert values(materialized(result)["a"])[key] == "2024-05-06T12:00:00Z"


@pytest.mark.parametrize(
    ("write_mode", "rows", "entries"),
    first_of([("replace", 3, 1), ("append", 8, 2), ("mirror", 3, 1)]),
)
def test_an_overwritten_objects_rows_follow_the_write_mode(
    lake: Lake, write_mode: str, rows: int, entries: int
) -> None:
    """`append` adds the rows of the new version; the other modes replace the old rows."""
    lake.bucket.put("a/1.parquet", 5)
    lake.run(write_mode=write_mode)
    lake.bucket.put("a/1.parquet", numbers(3, start=50))
    assert lake.run(write_mode=write_mode).success
    assert lake.rows("a") == rows
    assert len(lake.ledger("a")) == entries


@pytest.mark.parametrize(
    ("write_mode", "rows", "status"),
    first_of([("mirror", 2, "removed"), ("replace", 7, "loaded"), ("append", 7, "loaded")]),
)
def test_a_deleted_objects_rows_follow_the_write_mode(
    lake: Lake, write_mode: str, rows: int, status: str
) -> None:
    """Only `mirror` removes them, and the ledger records that."""
    lake.bucket.put("a/1.parquet", 5)
    lake.bucket.put("a/2.parquet", 2)
    lake.run(write_mode=write_mode)
    lake.bucket.delete("a/1.parquet")
    result = lake.run(write_mode=write_mode)
    assert result.success
    assert lake.rows("a") == rows
    assert lake.statuses("a") == {"a/1.parquet": status, "a/2.parquet": "loaded"}
    assert bool(materialized(result)) == (write_mode == "mirror")


@pytest.mark.thorough
def test_a_removed_object_that_comes_back_is_loaded_again(lake: Lake) -> None:
    """An object is loaded again even if it comes back with the same bytes."""
    for _ in range(2):
        lake.bucket.put("a/1.parquet", parquet(numbers(5)))
        lake.bucket.put("a/2.parquet", 1)
        lake.run(write_mode="mirror")
        assert lake.rows_by_key("a") == {"a/1.parquet": 5, "a/2.parquet": 1}
        lake.bucket.delete("a/1.parquet")
        lake.run(write_mode="mirror")
        assert lake.rows_by_key("a") == {"a/2.parquet": 1}


@pytest.mark.thorough
def test_an_empty_listing_removes_nothing_from_a_mirror_unless_allowed(lake: Lake) -> None:
    """The error says what to do; with `allow_empty_listing` the rows are removed."""
    lake.bucket.put("a/1.parquet", 5)
    definitions = lake.definitions(write_mode="mirror")
    lake.run(definitions=definitions)
    lake.bucket.delete("a/1.parquet")
    result = lake.run(definitions=definitions)
    assert "allow_empty_listing: true" in failure(result, "load_a")
    assert lake.rows("a") == 5
    allowed = lake.run("a", definitions=definitions, config={"allow_empty_listing": True})
    assert allowed.success
    assert lake.rows("a") == 0
    assert lake.statuses("a") == {"a/1.parquet": "removed"}


@pytest.mark.thorough
def test_an_object_replaced_by_a_malformed_one_keeps_its_last_good_rows(lake: Lake) -> None:
    """The malformed version is quarantined; once repaired, its rows replace the old ones."""
    lake.bucket.put("a/1.parquet", 5)
    lake.run()
    lake.bucket.put("a/1.parquet", b"broken upload")
    assert lake.run().success
    assert lake.rows("a") == 5
    assert sorted(entry["status"] for entry in lake.ledger("a")) == ["loaded", "quarantined"]
    lake.bucket.put("a/1.parquet", 3)
    assert lake.run().success
    assert lake.rows("a") == 3
    assert lake.statuses("a") == {"a/1.parquet": "loaded"}


@pytest.mark.thorough
def test_an_object_overwritten_while_it_is_read_is_read_again(lake: Lake) -> None:
    """The rows of the new version are loaded, under its e_tag."""
    lake.bucket.put("a/1.parquet", 5)
    definitions = lake.definitions()
    overwritten: list[Request] = []

    def overwrite(request: Request) -> None:
        if request.is_object and not overwritten:
            overwritten.append(request)
            lake.bucket.put("a/1.parquet", numbers(2, start=70))

    lake.bucket.proxy.before = overwrite
    assert lake.run(definitions=definitions).success
    assert lake.query("SELECT id FROM a ORDER BY 1") == [(70,), (71,)]
    lake.bucket.proxy.before = lambda _request: None
    assert observed(lake.run(definitions=definitions))


@pytest.mark.thorough
def test_a_backfill_resumes_at_its_last_checkpoint(lake: Lake) -> None:
    """Objects of committed checkpoints are not read again."""
    for number in range(6):
        lake.bucket.put(f"a/{number}.parquet", 10)
        lake.bucket.set_last_modified(f"a/{number}.parquet", NOON + timedelta(seconds=number))
    definitions = lake.definitions(checkpoint_bytes=1, concurrency=1)
    denied = Answer(403, b"<Error><Code>AccessDenied</Code></Error>")
    lake.bucket.proxy.before = lambda request: denied if "4.parquet" in request.key else None
    assert not lake.run(definitions=definitions).success
    assert set(lake.rows_by_key("a")) == {f"a/{n}.parquet" for n in range(4)}
    assert set(lake.statuses("a")) == {f"a/{n}.parquet" for n in range(4)}
    lake.bucket.proxy.before = lambda _request: None
    lake.bucket.proxy.forget()
    assert lake.run(definitions=definitions).success
    assert {read.key for read in lake.bucket.proxy.object_reads} == {"a/4.parquet", "a/5.parquet"}
    assert lake.rows("a") == 60


@pytest.mark.thorough
def test_row_ids_are_the_same_however_often_a_row_is_loaded(lake: Lake) -> None:
    """Row ids depend on bucket, key, e_tag and row number alone."""
    lake.bucket.put("a/1.parquet", parquet(numbers(3)))
    lake.run()
    first = lake.query("SELECT _cq_id, _cq_parent_id FROM a ORDER BY id")
    lake.run("a", config={"full_refresh": True})
    assert lake.query("SELECT _cq_id, _cq_parent_id FROM a ORDER BY id") == first
    assert len({row for row, _ in first}) == 3


@pytest.mark.thorough
def test_without_cq_ids_the_columns_are_left_out(lake: Lake) -> None:
    """`_s3_key` stays, since replacing rows needs it."""
    lake.bucket.put("a/1.parquet", 1)
    lake.run(add_cq_ids=False)
    columns = lake.query("SELECT column_name FROM duckdb_columns() WHERE table_name = 'a'")
    assert [name for (name,) in columns] == ["id", "text", "_s3_key"]


def test_a_table_name_collision_names_the_prefixes(lake: Lake) -> None:
    """`a-b/` and `a_b/` are never merged silently."""
    lake.bucket.put("a-b/1.parquet", 1)
    lake.bucket.put("a_b/1.parquet", 1)
    failed = lake.run()
    assert not failed.success
    assert "'a_b' would come from prefixes 'a-b/', 'a_b/'" in str(failed.all_events)
    assert not lake.database.exists()


@pytest.mark.thorough
def test_odd_keys_are_loaded_under_exactly_that_key(lake: Lake) -> None:
    """Whatever S3 allows in a key is listed, read and kept."""
    keys = [
        "a b/+ %20&=?#.parquet",
        "c//d.parquet",
        "e/../f.parquet",
        "g/./h.parquet",
        "/i/j.parquet",
        "j/tab\t☃ 😀.PARQUET",
        "k/'; DROP TABLE _s3pq_objects; --.parquet",
    ]
    for key in keys:
        lake.bucket.put(key, 1)
    assert lake.run().success
    found = lake.query("SELECT key, table_name FROM _s3pq_objects WHERE status = 'loaded'")
    assert {key for key, _ in found} == set(keys)
    for key, table in found:
        assert lake.rows_by_key(table) == {key: 1}


def test_the_reason_of_a_quarantine_is_in_the_ledger(lake: Lake) -> None:
    """The ledger has the text of the error with which the object could not be read."""
    lake.bucket.put("a/1.parquet", b"")
    result = lake.run()
    assert [entry["reason"] for entry in lake.ledger("a")] == ["it has 0 bytes"]
    expected = str(MalformedObjectError("a/1.parquet", "it has 0 bytes").reason)
    assert any(expected in found for found in messages(lake.instance, result.run_id))


@pytest.mark.thorough
@pytest.mark.parametrize(
    "write_mode", [pytest.param("replace", marks=pytest.mark.thorough), "mirror"]
)
def test_a_run_of_one_table_sees_no_more_than_a_run_of_all(lake: Lake, write_mode: str) -> None:
    """This holds if the spec's prefix ends within the last segment of a key, too."""
    lake.bucket.put("data/2023-a.parquet", 1)
    lake.bucket.put("data/2024-a.parquet", 2)
    lake.bucket.put("data/2024-b.parquet", 4)
    lake.bucket.put("data/2024/other.parquet", 1)
    definitions = lake.definitions(path_prefix="data/2024", write_mode=write_mode)
    for tables in (("data",), (), ("data",)):
        assert lake.run(*tables, definitions=definitions).success
        assert lake.rows("data") == 6
    assert not lake.tick(definitions=definitions).run_requests


@pytest.mark.nightly
def test_rows_of_any_width_are_loaded(lake: Lake) -> None:
    """Batches are limited by bytes too, since rows of 80 kB would overflow Arrow's offsets."""
    wide = pa.table({"id": range(30_000), "blob": ["x" * 80_000] * 30_000})
    lake.bucket.put("a/1.parquet", wide, row_group_size=1000, compression="zstd")
    assert lake.run().success
    assert lake.query("SELECT count(*), min(length(blob)), max(length(blob)) FROM a") == [
        (30_000, 80_000, 80_000)
    ]


@pytest.mark.thorough
def test_the_cursor_of_a_mirror_is_that_of_what_is_left(lake: Lake) -> None:
    """The cursor goes back when the newest object is deleted."""
    for number in range(2):
        lake.bucket.put(f"a/{number}.parquet", 1)
        lake.bucket.set_last_modified(f"a/{number}.parquet", NOON + timedelta(hours=number))
    lake.run(write_mode="mirror")
    assert cursor(lake, "a") == NOON + timedelta(hours=1)
    lake.bucket.delete("a/1.parquet")
    assert lake.run(write_mode="mirror").success
    assert cursor(lake, "a") == NOON


@pytest.mark.thorough
def test_tables_and_namespaces_may_have_any_name(lake: Lake) -> None:
    """Names that the destination uses itself, and the file's name, are possible too."""
    for name in ("s3pq_batches", "s3pq_new", "lake", "select"):
        lake.bucket.put(f"{name}/1.parquet", 2)
    lake.namespace = "lake"
    assert lake.run().success
    assert lake.query('SELECT count(*) FROM lake.lake."s3pq_batches"') == [(2,)]
    assert lake.run().success
