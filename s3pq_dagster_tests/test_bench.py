"""The bench is fair: each contender does the whole work, over the network described."""

import re
import time
from pathlib import Path

import pytest

from bench import aims, network, report
from bench.__main__ import _keep, _kept
from bench.contest import (
    CONTENDERS,
    DAGSTER,
    DUCKDB_S3,
    HIVE_READERS,
    OURS,
    POLARS,
    Contest,
    Run,
    Score,
)
from bench.listing_server import keys
from bench.standing import wall
from bench.workloads import Workload
from s3pq_dagster_tests.servers import admin_client, seaweedfs, use_credentials

TINY = Workload("test", tables=2, objects=4, rows=10)
PARTITIONED = Workload("parts", tables=2, objects=120, rows=2, partitions=60)
HERE = [contender for contender in CONTENDERS if not contender.packages]


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set credentials, and restore the environment afterwards."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "")
    use_credentials()


@pytest.mark.nightly
def test_each_contender_loads_every_row(tmp_path: Path) -> None:
    """Contenders that need no other packages load every row; each bench run counts rows, too."""
    with seaweedfs(tmp_path / "weed") as server, network.network(server) as way:
        files = TINY.prepare(tmp_path, server)
        scores = Contest(TINY, files, way, 0, 1, 120).play(HERE)
    assert [score.note for score in scores] == len(HERE) * [""]
    assert all(score.seconds for score in scores)
    by_name = {score.name: score.runs[0].requests for score in scores}
    assert by_name["DuckDB, local files"] == 0
    # A listing for the definitions and one for the run, a footer a table, and each object once.
    assert by_name[OURS.name] == 2 + TINY.tables + TINY.objects


@pytest.mark.nightly
def test_each_contender_makes_columns_of_partitions(tmp_path: Path) -> None:
    """Every row is in the table of its partitions, with day and hour."""
    readers = [contender for contender in HIVE_READERS if not contender.packages]
    with seaweedfs(tmp_path / "weed") as server, network.network(server) as way:
        files = PARTITIONED.prepare(tmp_path, server)
        folders = {str(path.parent.relative_to(files)) for path in files.rglob("*.parquet")}
        scores = Contest(PARTITIONED, files, way, 0, 1, 120).play(readers)
    assert len(folders) == PARTITIONED.partitions
    assert "t001/day=2024-01-02/hour=05" in folders
    assert [score.note for score in scores] == len(readers) * [""]


@pytest.mark.thorough
def test_each_request_waits_and_is_counted(tmp_path: Path) -> None:
    """Requests on one connection are delayed and counted one by one, and bodies arrive whole."""
    body = bytes(range(256)) * 4096
    with seaweedfs(tmp_path / "weed") as server, network.network(server) as way:
        client = admin_client(way.endpoint)
        client.create_bucket(Bucket="bucket")
        client.put_object(Bucket="bucket", Key="k", Body=body)
        way.set(0.2)
        started = time.monotonic()
        read = [client.get_object(Bucket="bucket", Key="k")["Body"].read() for _ in range(3)]
        seconds = time.monotonic() - started
        client.close()
    assert read == [body] * 3
    assert way.requests == 3
    assert seconds >= 3 * 0.2


@pytest.mark.thorough
def test_every_key_of_the_wall_is_listed(tmp_path: Path) -> None:
    """All keys are listed, one in a hundred of them odd."""
    (score,) = wall(tmp_path, 1, count=5_000)
    assert score.note.endswith("of processor time a key")
    assert sum(not re.fullmatch(r"t\d+/\d+\.parquet", key) for key in keys(5_000)) == 50


def test_ours_is_kept_first_whatever_was_run_last(tmp_path: Path) -> None:
    """Ours is the first row, because the others are compared with it."""
    for name in ("DuckDB over S3", OURS.name, "Dagster alone, assets that do nothing", OURS.name):
        _keep(tmp_path, "big", [Score("big, 0 ms", name, "v 1")])
    assert [score.name for score in _kept(tmp_path)] == [
        OURS.name,
        "Dagster alone, assets that do nothing",
        "DuckDB over S3",
    ]


def test_the_table_goes_between_its_markers(tmp_path: Path) -> None:
    """The report replaces the text between its markers; ratios are to a work's first contender."""
    said = {"loading": 1.5}
    run = Run(seconds=2, processor=1, idle=0, peak=3_000_000, requests=4, said=said)
    slow = Run(seconds=5, processor=1, idle=0, peak=3_000_000, requests=1234)
    scores = [
        Score("big", "ours", "v 1", [run, slow, run]),
        Score("big", "theirs", "v 1, w 2", [slow]),
        Score("big", "lost", "x 3", note="stopped after 9 s"),
    ]
    document = tmp_path / "README.md"
    document.write_text("before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n")
    report.into(document, report.table(scores))
    lines = document.read_text().splitlines()
    assert lines[0] == "before"
    assert lines[-1] == "after"
    assert "| big | ours | 2.0 | 1.00 | 3 | 1,234 | 1.5 s of it loading |" in lines
    assert "| big | theirs | 5.0 | 2.50 | 3 | 1,234 |  |" in lines
    assert "| big | lost |  |  | 0 | 0 | stopped after 9 s |" in lines
    assert "old" not in lines


@pytest.mark.parametrize(
    ("ours", "theirs", "stopped_after", "said"),
    [
        ([13.0], 25.0, None, "| 10.0 s | 10.0 s | yes |"),
        ([13.1], 25.0, None, "| 10.0 s | 10.1 s | no |"),
        ([14.0, 6.0, 13.0], 25.0, None, "| 10.0 s | 9.0 s | yes |"),
        ([7.0], None, 10.0, "| more than 4.0 s | 4.0 s | yes |"),
        ([7.1], None, 10.0, "| more than 4.0 s | 4.1 s | not known: stopped |"),
        ([], 25.0, None, "| 10.0 s |  | not measured |"),
        ([7.1], None, None, "|  | 4.1 s | not measured |"),
    ],
)
def test_an_aim_is_for_what_dagster_alone_does_not_take(
    ours: list[float], theirs: float | None, stopped_after: float | None, said: str
) -> None:
    """The own part, turn by turn, may be a share of a peer's time, or of when that was stopped."""
    work = "small, 30 ms"

    def score(name: str, *seconds: float | None, stopped_after: float | None = None) -> Score:
        runs = [Run(each, processor=1, idle=0, peak=0, requests=0) for each in seconds if each]
        return Score(work, name, "v 1", runs, stopped_after=stopped_after)

    scores = [
        score(OURS.name, *ours),
        score(DAGSTER.name, 3.0, 5.0, 4.0),
        score(POLARS.name, theirs, stopped_after=stopped_after),
    ]
    begins = f"| {work} | own part at most 0.4 times {POLARS.name} "
    (line,) = (line for line in aims.table(scores).splitlines() if line.startswith(begins))
    assert line == begins + said


def test_an_own_part_is_held_against_the_faster_of_two_peers() -> None:
    """A peer that was stopped bounds nothing that the other has not bounded lower."""
    work = "hive, 30 ms"
    runs = {OURS: 40.0, DAGSTER: 4.0, POLARS: 100.0}
    scores = [
        Score(work, who.name, "v 1", [Run(seconds, processor=1, idle=0, peak=0, requests=0)])
        for who, seconds in runs.items()
    ]
    scores.append(Score(work, DUCKDB_S3.name, "v 1", stopped_after=300.0))
    text = report.table(scores)
    assert f"the faster of {DUCKDB_S3.name} and {POLARS.name} | 30.0 s | 36.0 s | no |" in text
    assert f"| {work} | {OURS.name} | 40.0 | 1.00 | 0 | 0 | own part 36.0 s |" in text
