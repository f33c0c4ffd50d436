"""Each command with a destination in S3: looks write nothing into its bucket, `undo` takes back."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster_tests.cli.conftest import CommandLine, Said
from s3pq_dagster_tests.cli.loads import load
from s3pq_dagster_tests.destinations.places.delta_s3 import DeltaOnS3Place
from s3pq_dagster_tests.destinations.places.parquet_s3 import ParquetS3Place
from s3pq_dagster_tests.destinations.tables import ids_by_key
from s3pq_dagster_tests.levels import first_of
from s3pq_dagster_tests.proxy import Answer, Proxy, Request
from s3pq_dagster_tests.servers import admin_client

PLACES: dict[str, Any] = {"parquet": ParquetS3Place, "delta": DeltaOnS3Place}
GOOD = {"orders/a.parquet": [1, 2]}
LOADED = GOOD | {"orders/b.parquet": [3]}
NO_SUCH_BUCKET = (
    b'<?xml version="1.0"?><Error><Code>NoSuchBucket</Code><Message>no</Message></Error>'
)
DENIED = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>no</Message></Error>'


@dataclass(frozen=True, slots=True)
class Lake:
    """A destination below a prefix of a bucket, behind a proxy that counts requests."""

    place: Any
    proxy: Proxy

    @property
    def url(self) -> str:
        return str(self.place.url).replace(self.place.endpoint, self.proxy.endpoint)

    @property
    def variables(self) -> dict[str, str]:
        return {"S3PQ_DESTINATION": self.url}

    def objects(self) -> dict[str, tuple[str, int, Any]]:
        """Return e_tag, size and time of every object of the bucket, by its key."""
        client = admin_client(self.place.endpoint)
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.place.bucket)
        found = [each for page in pages for each in page.get("Contents", ())]
        client.close()
        return {each["Key"]: (each["ETag"], each["Size"], each["LastModified"]) for each in found}

    def fill(self, s3pq: CommandLine) -> None:
        """Load an object in one run, and another in a second."""
        for run_id, key in (("good-1", "orders/a.parquet"), ("bad-2", "orders/b.parquet")):
            s3pq.bucket.put(key, pa.table({"id": LOADED[key]}))
            load(s3pq.bucket, self.url, run_id=run_id)
        self.proxy.forget()


@pytest.fixture
def lake(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Lake]:
    """Make an empty destination of a kind."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    place = PLACES[request.param](tmp_path)
    with Proxy(place.endpoint) as proxy:
        yield Lake(place, proxy)
    place.discard()


def found_by(said: Said, check: str) -> tuple[bool, str]:
    """Return whether a check of `doctor` is ok, and what it found."""
    ((is_ok, found),) = [(c["ok"], c["found"]) for c in said.json["checks"] if c["check"] == check]
    return is_ok, found


@pytest.mark.thorough
@pytest.mark.parametrize("lake", first_of(PLACES), indirect=True)
def test_looks_write_nothing_into_the_bucket(s3pq: CommandLine, lake: Lake) -> None:
    """Before a first load and after it: the objects are the same, and only reads were sent."""
    s3pq.bucket.put("orders/a.parquet", pa.table({"id": [1, 2]}))
    for is_loaded in (False, True):
        if is_loaded:
            lake.fill(s3pq)
            s3pq.bucket.put("orders/later.parquet", pa.table({"id": [9]}))
        before, codes = lake.objects(), list[int]()
        for words in (["plan", "--footers"], ["tables"], ["status"], ["doctor"]):
            said = s3pq(*words, **lake.variables)
            codes.append(said.code)
            assert said.err == ""
        assert codes == [2, 0, 0, 0]
        assert lake.objects() == before
        assert {sent.method for sent in lake.proxy.requests} <= {"GET", "HEAD"}
    assert lake.proxy.requests


@pytest.mark.thorough
@pytest.mark.parametrize("lake", first_of(PLACES, others=pytest.mark.nightly), indirect=True)
def test_a_load_is_taken_back_and_is_not_loaded_again(s3pq: CommandLine, lake: Lake) -> None:
    """The rows go, `undo` says how many, and what is shown afterwards is what is there."""
    lake.fill(s3pq)
    done = s3pq("undo", "bad", "-t", "orders", "--yes", **lake.variables)
    assert (done.code, done.err) == (0, "")
    assert "run bad-2, from 20" in done.out
    assert f"into table orders in {lake.place.url.partition('+')[0]}+s3://" in done.out
    assert done.out.endswith("Done: 1 row deleted, 1 object set aside.\n")
    assert ids_by_key(lake.place.open(), "orders") == GOOD
    assert s3pq("plan", **lake.variables).code == 0
    shown = s3pq("status", "-t", "orders", **lake.variables)
    assert shown.words("orders")[1:4] == ["1", "2", "1"]
    assert "orders: set aside orders/b.parquet: undone: run bad-2" in shown.out
    before = lake.objects()
    again = s3pq("undo", "bad-2", "-t", "orders", "--yes", **lake.variables)
    assert again.code == 1
    assert "taken back already" in again.err
    assert ids_by_key(lake.place.open(), "orders") == GOOD
    assert {key for key in before if "/orders/" in key} == {
        key for key in lake.objects() if "/orders/" in key
    }


@pytest.mark.thorough
@pytest.mark.parametrize("lake", first_of(PLACES, others=pytest.mark.nightly), indirect=True)
def test_what_is_asked_and_answered_no_writes_nothing(s3pq: CommandLine, lake: Lake) -> None:
    """Nor does a run that is not known: no lock is taken for the question."""
    lake.fill(s3pq)
    before = lake.objects()
    for run_id in ("bad-2", "unknown"):
        assert s3pq("undo", run_id, "-t", "orders", **lake.variables).code == 1
    assert lake.objects() == before
    assert {sent.method for sent in lake.proxy.requests} <= {"GET", "HEAD"}


@pytest.mark.thorough
@pytest.mark.parametrize("lake", first_of(PLACES, others=pytest.mark.nightly), indirect=True)
def test_rows_that_the_ledger_does_not_have_are_found(s3pq: CommandLine, lake: Lake) -> None:
    """Somebody deleted rows in the bucket: `doctor` says which, and what to do."""
    lake.fill(s3pq)
    lake.place.delete_rows("orders", "orders/a.parquet")
    said = s3pq("doctor", "--json", **lake.variables)
    assert said.code == 1
    is_ok, found = found_by(said, "rows")
    assert not is_ok
    assert found.startswith("orders: 1 objects differ, orders/a.parquet has 0 rows and 2 by ")


@pytest.mark.thorough
@pytest.mark.parametrize("lake", ["parquet"], indirect=True)
def test_who_holds_a_lease_is_named_and_keeps_the_table(s3pq: CommandLine, lake: Lake) -> None:
    """`doctor` does not wait for it; `undo` gives up after seconds, and works once it is free."""
    lake.fill(s3pq)
    words = ("undo", "bad-2", "-t", "orders", "--yes")
    owner = Owner("orders", s3pq.bucket.name, "orders/")
    with lake.place.open().write(owner, run_id="other", append=False, refresh=False):
        said = s3pq("doctor", "--json", **lake.variables)
        refused = s3pq(*words, **lake.variables)
    assert said.code == 0
    assert found_by(said, "locks")[1].startswith("orders is written by ")
    assert refused.code == 1
    assert "DestinationLockedError" in refused.err
    assert ids_by_key(lake.place.open(), "orders") == LOADED
    assert s3pq(*words, **lake.variables).code == 0
    said = s3pq("doctor", "--json", **lake.variables)
    assert found_by(said, "locks") == (True, "no table is being written")


@pytest.mark.thorough
@pytest.mark.parametrize("lake", first_of(PLACES, others=pytest.mark.nightly), indirect=True)
@pytest.mark.parametrize(
    ("status", "body"), [(404, NO_SUCH_BUCKET), (403, DENIED)], ids=["missing", "denied"]
)
def test_a_bucket_that_refuses_is_told_once(
    s3pq: CommandLine, lake: Lake, status: int, body: bytes
) -> None:
    """An error of one line and exit code 1, whatever the command; `doctor` fails by it as well."""

    def refuse(_request: Request) -> Answer:
        return Answer(status, body)

    for name in ("orders", "users"):
        s3pq.bucket.put(f"{name}/a.parquet", 1)
    lake.proxy.before = refuse
    for words in (["plan"], ["status"], ["undo", "bad", "-t", "orders", "--yes"]):
        said = s3pq(*words, **lake.variables)
        assert (said.code, said.out) == (1, "")
        assert said.err.startswith("error: Destination")
        assert said.err.count("\n") == 1
        assert lake.place.bucket in said.err
    said = s3pq("doctor", "--json", **lake.variables)
    assert said.code == 1
    assert "Destination" in "".join(c["found"] for c in said.json["checks"] if not c["ok"])
