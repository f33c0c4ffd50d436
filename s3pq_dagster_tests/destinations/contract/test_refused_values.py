"""An object with a value that a destination cannot hold is set aside; the others load."""

from dataclasses import dataclass
from typing import Any, cast

import pyarrow as pa
import pytest

from s3pq_dagster import schemas
from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster.errors import DestinationError, QuarantineLimitError, UnsupportedSchemaError
from s3pq_dagster.ledger import fingerprint
from s3pq_dagster.loading.key_ranges import KeyRange
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.destinations.contract.loads import load, owner, reasons
from s3pq_dagster_tests.destinations.contract.parameters import ONE_OF_EACH_KIND
from s3pq_dagster_tests.destinations.places import PLACES, Place
from s3pq_dagster_tests.levels import first_of
from s3pq_dagster_tests.poison import KINDS, refused_by, rows
from s3pq_dagster_tests.unit.made import Lines, listed, logger, opened

POISON = {
    "duckdb": ("key-twice", "instant-beyond-microseconds"),
    "postgres": ("nul", "nan-deep"),
    "delta": ("single-nanoseconds", "instant-beyond-microseconds"),
}
"""Two kinds for each destination that refuses any."""
REFUSING = pytest.mark.parametrize("place", POISON, indirect=True)
FIRST_REFUSING = pytest.mark.parametrize("place", first_of(POISON), indirect=True)


@dataclass
class WithoutRules:
    """A destination that holds no value against its rules before it writes."""

    of: Destination

    def check_values(self, batch: pa.RecordBatch, key: str) -> None:
        """Let everything pass."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.of, name)


def ids(destination: Destination) -> list[int]:
    """Return the ids in the table, sorted."""
    with destination.read("t", ["id"]) as reader:
        return sorted(reader.read_all().column("id").to_pylist())


def kind_of(place: Place) -> str:
    """Return the name of a place's destination."""
    return next(name for name, made in PLACES.items() if isinstance(place, made))


@pytest.fixture
def poisoned(bucket: Bucket) -> Bucket:
    """A bucket with two good objects and, between them, one of each kind of poison."""
    bucket.put("t/a", rows([1, 2]))
    for number, (name, poison) in enumerate(KINDS.items()):
        bucket.put(f"t/b-{name}", rows([100 + 2 * number, 101 + 2 * number], poison))
    bucket.put("t/c", rows([3, 4]))
    return bucket


@ONE_OF_EACH_KIND
@pytest.mark.parametrize("refresh", first_of([False, True]), ids=["load", "refresh"])
def test_poison_is_set_aside_and_the_others_load(
    poisoned: Bucket, place: Place, destination: Destination, *, refresh: bool
) -> None:
    """In one checkpoint, too: the reason names column and value, and a warning has it."""
    lines = Lines()
    report = load(poisoned, destination, log=logger(lines), options={"full_refresh": refresh})
    refused = refused_by(kind_of(place))
    found = reasons(poisoned, destination)
    assert found.keys() == {f"t/b-{name}" for name in refused}
    for name, poison in refused.items():
        assert f"column {poison.column!r}" in found[f"t/b-{name}"]
        assert poison.shown in found[f"t/b-{name}"]
    assert len(lines.of("object_quarantined")) == len(refused)
    assert sorted(report.quarantined_keys) == sorted(found)
    good = {100 + 2 * n + i for n, name in enumerate(KINDS) if name not in refused for i in (0, 1)}
    assert ids(destination) == sorted({1, 2, 3, 4} | good)


@ONE_OF_EACH_KIND
def test_good_values_near_the_limits_load(bucket: Bucket, destination: Destination) -> None:
    """No rule refuses what a destination holds: the rows are all there, and nothing is told."""
    bucket.put("t/a", rows(range(3)))
    assert load(bucket, destination).quarantined_keys == []
    assert ids(destination) == [0, 1, 2]


@REFUSING
@pytest.mark.parametrize("write_mode", first_of(["replace", "append", "mirror"]))
def test_a_repaired_object_loads(
    bucket: Bucket, place: Place, destination: Destination, write_mode: str
) -> None:
    """Its last good rows stay while it is set aside; then those of the new version are there."""
    poison = KINDS[POISON[kind_of(place)][0]]
    bucket.put("t/a", rows([1]))
    bucket.put("t/b", rows([2]))
    load(bucket, destination, write_mode=write_mode)
    bucket.put("t/b", rows([3], poison))
    assert load(bucket, destination, write_mode=write_mode).quarantined_keys == ["t/b"]
    assert ids(destination) == [1, 2]
    again = load(bucket, destination, write_mode=write_mode, options={"retry_quarantined": True})
    assert again.quarantined_keys == ["t/b"]
    assert load(bucket, destination, write_mode=write_mode).bytes == 0
    bucket.put("t/b", rows([4]))
    assert load(bucket, destination, write_mode=write_mode).quarantined_keys == []
    assert ids(destination) == ([1, 2, 4] if write_mode == "append" else [1, 4])
    with opened(bucket) as store:
        held = destination.state(owner(bucket)).ledger.quarantined(listed(store, "t/"))
    assert held.is_empty()


@pytest.mark.thorough
@FIRST_REFUSING
def test_a_large_object_is_checked_as_it_streams(
    bucket: Bucket, place: Place, destination: Destination
) -> None:
    """What is in its last rows rolls back those that were written already, and nothing else."""
    bucket.put("t/a", rows([1]))
    bucket.put("t/b", rows(range(100, 5_000), KINDS[POISON[kind_of(place)][0]]))
    bucket.put("t/c", rows([2]))
    report = load(bucket, destination, max_object_bytes_in_memory=1_000, rows_per_record=100)
    assert report.quarantined_keys == ["t/b"]
    assert ids(destination) == [1, 2]


@REFUSING
def test_the_limit_counts_what_a_destination_refuses(
    bucket: Bucket, place: Place, destination: Destination
) -> None:
    """As many objects may be set aside as `max_quarantined_fraction` lets pass, and no more."""
    for number, name in enumerate(POISON[kind_of(place)]):
        bucket.put(f"t/{number}", rows([1], KINDS[name]))
    bucket.put("t/good", rows([1]))
    with pytest.raises(QuarantineLimitError, match=r"1 of 3.*column"):
        load(bucket, destination, max_quarantined_fraction=0.3)
    assert not destination.state(owner(bucket)).exists
    load(bucket, destination, max_quarantined_fraction=0.7)
    assert ids(destination) == [1]


@REFUSING
@pytest.mark.parametrize("ahead", first_of([3, 1]))
def test_what_is_refused_on_writing_is_found_one_by_one(
    bucket: Bucket, place: Place, destination: Destination, ahead: int
) -> None:
    """The checkpoint is rolled back, each object has its own, and only the refused ones miss."""
    for number, name in enumerate(POISON[kind_of(place)]):
        bucket.put(f"t/b{number}", rows([100], KINDS[name]))
    for number in range(ahead):
        bucket.put(f"t/a{number}", rows([number]))
    bucket.put("t/c", rows([7]))
    lines = Lines()
    report = load(bucket, cast("Destination", WithoutRules(destination)), log=logger(lines))
    assert report.quarantined_keys == ["t/b0", "t/b1"]
    assert report.objects == ahead + 1
    assert report.rows == ahead + 1
    assert ids(destination) == [*range(ahead), 7]
    assert reasons(bucket, destination).keys() == {"t/b0", "t/b1"}
    assert len(lines.of("object_loaded")) == ahead + 1
    state = destination.state(owner(bucket))
    assert state.ledger.rows == state.rows == ahead + 1
    with opened(bucket) as store:
        assert report.fingerprint == fingerprint(listed(store, "t/"))
    assert load(bucket, destination).bytes == 0


@pytest.mark.thorough
@REFUSING
def test_a_refresh_starts_again_without_a_refused_object(
    bucket: Bucket, place: Place, destination: Destination
) -> None:
    """What was there stays until all others are in the new table."""
    bucket.put("t/a", rows([1]))
    load(bucket, destination)
    bucket.put("t/b", rows([2], KINDS[POISON[kind_of(place)][0]]))
    bucket.put("t/c", rows([3]))
    options = {"full_refresh": True}
    report = load(bucket, cast("Destination", WithoutRules(destination)), options=options)
    assert report.quarantined_keys == ["t/b"]
    assert ids(destination) == [1, 3]
    assert reasons(bucket, destination).keys() == {"t/b"}


@pytest.mark.thorough
@FIRST_REFUSING
def test_a_refresh_ends_after_the_third_start(
    bucket: Bucket, place: Place, destination: Destination
) -> None:
    """The error names what was refused; the table stays as it was."""
    bucket.put("t/a", rows([1]))
    load(bucket, destination)
    for number in range(5):
        bucket.put(f"t/b{number}", rows([2], KINDS[POISON[kind_of(place)][0]]))
    options = {"full_refresh": True}
    with pytest.raises(DestinationError, match=r"in each of 4 attempts.*'t/b0'"):
        load(bucket, cast("Destination", WithoutRules(destination)), options=options)
    assert ids(destination) == [1]
    assert reasons(bucket, destination) == {}


@pytest.mark.thorough
@REFUSING
def test_shards_set_aside_what_is_refused_on_writing(
    bucket: Bucket, place: Place, destination: Destination
) -> None:
    """A writer that shares the table rolls back its own checkpoint alone."""
    bucket.put("t/a", rows([1]))
    bucket.put("t/b", rows([2], KINDS[POISON[kind_of(place)][0]]))
    bucket.put("t/c", rows([3]))
    for checked in (destination, cast("Destination", WithoutRules(destination))):
        shard = load(bucket, checked, keys=KeyRange(), options={"retry_quarantined": True})
        assert shard.quarantined_keys == ["t/b"]
        assert ids(destination) == [1, 3]


@ONE_OF_EACH_KIND
def test_a_type_that_cannot_be_held_is_an_error_of_the_table(
    bucket: Bucket, destination: Destination
) -> None:
    """It is no object's fault: nothing is set aside, nothing is written."""
    twins = pa.table({"Id": [1], "ID": [2]})
    bucket.put("t/a", twins)
    with pytest.raises(UnsupportedSchemaError, match=r"'Id' and 'ID'"):
        load(bucket, destination)
    assert not destination.state(owner(bucket)).exists
    assert reasons(bucket, destination) == {}


@ONE_OF_EACH_KIND
def test_two_columns_of_one_name_are_an_error_of_the_table(
    bucket: Bucket, destination: Destination
) -> None:
    """Whatever rules their types have: the error names the column, and nothing is written."""
    times = rows([1]).column("at_ms")
    bucket.put("t/a", pa.table([["x"], ["y"], times, times], names=["c", "c", "d", "d"]))
    with pytest.raises(UnsupportedSchemaError, match="more than one column named 'c', 'd'"):
        load(bucket, destination)
    assert not destination.state(owner(bucket)).exists
    assert reasons(bucket, destination) == {}


@ONE_OF_EACH_KIND
def test_nested_extension_types_load_where_all_are_null(
    bucket: Bucket, destination: Destination
) -> None:
    """Rules look into such columns, too: there is nothing in them that could be refused."""
    moments = pa.struct([("id", pa.uuid()), ("at", pa.timestamp("ms"))])
    kinds = [pa.map_(pa.uuid(), pa.timestamp("ms")), pa.list_(moments), pa.list_(moments, 2)]
    columns = [schemas.retyped(pa.nulls(2, schemas.storage_type(kind)), kind) for kind in kinds]
    bucket.put("t/a", pa.table([[1, 2], *columns], names=["id", "map", "list", "pair"]))
    assert load(bucket, destination).quarantined_keys == []
    assert ids(destination) == [1, 2]
