"""A seeded day through sensor and runs, as the bench plays it with thousands of objects."""

from pathlib import Path

import duckdb
import pytest

from s3pq_dagster_tests.arrivals.engines import DATED, LoadLayer, SensorAndRuns
from s3pq_dagster_tests.arrivals.plan import Shares, drifting, make_day
from s3pq_dagster_tests.arrivals.play import Player
from s3pq_dagster_tests.arrivals.small_days import small_day
from s3pq_dagster_tests.arrivals.verdict import judge
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.lake import Lake
from s3pq_dagster_tests.levels import first_of
from s3pq_dagster_tests.unit.made import opened

OFTEN = Shares(
    multipart=0.1,
    replica=0.05,
    overwritten=0.1,
    deleted=0.1,
    put_again=0.1,
    put_back=0.1,
    malformed=0.1,
    spoilt=0.1,
    large=0.05,
    empty=0.05,
)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "write_mode", first_of(["mirror", "append", "replace"], others=pytest.mark.nightly)
)
def test_a_day_of_objects_is_loaded_exactly_once(lake: Lake, write_mode: str) -> None:
    """Each row is there once, each object is read once, and quarantine and ledger are right."""
    day = make_day(9, objects=50, seconds=600, every=300, tables=2, shares=OFTEN)
    engine = SensorAndRuns(lake, write_mode)
    player = Player(lake.bucket, day, engine, reload_every=2, mirror=write_mode == "mirror")
    record = player.play()
    assert judge(player, lake.database, write_mode).problems == {}
    assert record.explained, "nothing changed between listing and reading"
    assert record.sightings.malformed, "nothing was malformed at the end"


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("write_mode", "schema_mode"),
    [("replace", "evolve"), ("mirror", "rescue"), ("append", "evolve"), ("replace", "rescue")],
)
def test_a_day_of_partitions_and_drifting_schemas_is_loaded_exactly_once(
    lake: Lake, write_mode: str, schema_mode: str
) -> None:
    """So is one in which partitions appear, columns come and go, and types grow."""
    day = drifting(
        make_day(8, objects=50, seconds=900, every=300, tables=2, shares=OFTEN), hours=200
    )
    engine = SensorAndRuns(lake, write_mode, schema_mode)
    player = Player(lake.bucket, day, engine, reload_every=2, mirror=write_mode == "mirror")
    record = player.play()
    assert judge(player, lake.database, write_mode).problems == {}
    assert record.explained, "nothing changed between listing and reading"


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("write_mode", "schema_mode"),
    first_of(
        [("mirror", "evolve"), ("replace", "rescue"), ("append", "evolve")],
        others=pytest.mark.nightly,
    ),
)
def test_a_day_of_dagsters_partitions_is_loaded_exactly_once(
    lake: Lake, write_mode: str, schema_mode: str
) -> None:
    """So is one whose table has Dagster's partitions, each range of which is a run of its own."""
    day = drifting(
        make_day(7, objects=40, seconds=900, every=300, tables=2, shares=OFTEN),
        hours=200,
        dated=True,
    )
    engine = SensorAndRuns(lake, write_mode, schema_mode, DATED)
    player = Player(lake.bucket, day, engine, reload_every=2, mirror=write_mode == "mirror")
    record = player.play()
    assert judge(player, lake.database, write_mode).problems == {}
    assert record.explained, "nothing changed between listing and reading"


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("harm", "found"),
    [
        ("DELETE FROM t0 WHERE row = 1", "lost"),
        ("INSERT INTO t0 SELECT * FROM t0 WHERE row = 1", "duplicated"),
        ("DELETE FROM _s3pq_objects WHERE table_name = 't0'", "not_in_ledger"),
        *(
            pytest.param(*case, marks=pytest.mark.thorough)
            for case in (
                ("UPDATE t0 SET version = 9 WHERE row = 1", "unexpected"),
                ("INSERT INTO _s3pq_objects SELECT * FROM _s3pq_objects", "only_in_ledger"),
                ("DELETE FROM _s3pq_objects WHERE status = 'quarantined'", "not_in_quarantine"),
                ("UPDATE _s3pq_objects SET status = 'quarantined'", "only_in_quarantine"),
            )
        ),
    ],
)
def test_the_verdict_finds_what_somebody_does_by_hand(
    bucket: Bucket, tmp_path: Path, harm: str, found: str
) -> None:
    """The verdict finds rows and entries that were changed by hand."""
    database = tmp_path / "lake.duckdb"
    with opened(bucket) as store:
        day = small_day([[("t0/a.parquet", -1, "before", 0)]])
        player = Player(bucket, day, LoadLayer(bucket, store, database, "replace"))
        player.play()
    assert judge(player, database, "replace").problems == {}
    with duckdb.connect(str(database)) as connection:
        connection.execute(harm)
    assert found in judge(player, database, "replace").problems


def test_the_verdict_finds_an_object_that_was_read_again(bucket: Bucket, tmp_path: Path) -> None:
    """The verdict finds it by the requests that were counted."""
    database = tmp_path / "lake.duckdb"
    with opened(bucket) as store:
        player = Player(bucket, small_day([[]]), LoadLayer(bucket, store, database, "append"))
        player.play()
    player.record.reads.update(list(player.record.reads)[:1])
    assert set(judge(player, database, "append").problems) == {"re_read"}
