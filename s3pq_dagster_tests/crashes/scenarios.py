"""What a killed run had to do: a bucket before and after, and what its table must hold."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from s3pq_dagster_tests.buckets import Bucket, parquet

MALFORMED = range(0)
"""A value that stands for an object which is not Parquet."""
Rows = Counter[tuple[str, int]]
"""How often each row is there, by its object's key and its number."""
Versions = dict[tuple[str, str], range]
"""The rows of each version of each object, by key and e_tag."""
Range = tuple[str, str]
"""The first and the last of some Dagster partitions that one run loads."""
_NOON = datetime(2024, 5, 6, 12, tzinfo=UTC)
_SPEC = {
    "max_object_bytes_in_memory": 8_000,
    "checkpoint_bytes": 2_000,  # two small objects, or a large one
    "concurrency": 2,
}


@dataclass(frozen=True, slots=True, eq=False)
class Scenario:
    """Objects that are loaded, how they change, and how the next run loads the changes."""

    name: str
    before: dict[str, range]
    """Rows of each object that is there, and loaded, before the run that is killed."""
    then: dict[str, range | None]
    """Objects that are put after that; those with ``None`` are deleted."""
    spec: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    """The run config of the run that is killed; the next run has none."""
    column: str = "id"
    """The name of the column with the rows' numbers."""
    grows: bool = False
    """Whether the objects that are put later have wider numbers, and a column more."""
    partitions: Range | None = None
    """The first and the last Dagster partition that there is; ``None`` for tables without."""
    part: Range | None = None
    """Those of the run that is killed; ``None`` for all. The other runs are of all."""

    def __str__(self) -> str:
        return self.name

    @property
    def tables(self) -> set[str]:
        return {key.split("/", maxsplit=1)[0] for key in self.before | self.then}

    @property
    def killed(self) -> Range | None:
        """Return the partitions of the run that is killed."""
        return self.part or self.partitions

    def is_in_killed(self, key: str) -> bool:
        """Return whether the run that is killed has to load an object."""
        return self.killed is None or self.killed[0] <= day_of(key) <= self.killed[1]

    def pattern(self, table: str) -> str:
        """Return the pattern of a table's keys."""
        rules = self.spec.get("layout", {"rules": [{"match": "{table}/"}]})["rules"]
        return str(rules[0]["match"]).replace("{table}", table)

    @property
    def fields(self) -> dict[str, Any]:
        """Return the fields of the spec, without those of the bucket."""
        return _SPEC | self.spec

    @property
    def held_before(self) -> dict[str, list[range]]:
        """Return the versions of each object that are loaded before the run."""
        return {key: [rows] for key, rows in self.before.items() if rows is not MALFORMED}

    @property
    def held_after(self) -> dict[str, list[range]]:
        """Return the versions of each object that have to be loaded in the end."""
        held = self.held_before
        mode = self.spec.get("write_mode", "replace")
        for key, rows in self.then.items():
            if rows is None and mode == "mirror":
                del held[key]
            elif rows is not None and rows is not MALFORMED:
                held[key] = [*(held.get(key, []) if mode == "append" else []), rows]
        return held

    @property
    def held_by_killed(self) -> dict[str, list[range]]:
        """Return the versions of each object that are loaded where the killed run ends."""
        before, after = self.held_before, self.held_after
        ends = {key: after if self.is_in_killed(key) else before for key in before | after}
        return {key: held[key] for key, held in ends.items() if key in held}

    def put(self, bucket: Bucket, objects: dict[str, range | None]) -> Versions:
        """Change the bucket, one second for each object; return the versions it has had."""
        versions = {}
        for number, (key, rows) in enumerate(objects.items()):
            if rows is None:
                bucket.delete(key)
                continue
            body = self._body(rows, is_wide=self.grows and objects is self.then)
            bucket.put(key, body)
            late = 100 if objects is self.then else 0
            bucket.set_last_modified(key, _NOON + timedelta(seconds=late + number))
            versions[key, hashlib.md5(body).hexdigest()] = rows
        return versions

    def _body(self, rows: range, *, is_wide: bool) -> bytes:
        if rows is MALFORMED:
            return b"no Parquet at all"
        texts = [f"row {number}" for number in rows]
        kind = pa.int32() if self.grows and not is_wide else pa.int64()
        columns = {self.column: pa.array(rows, kind), "text": texts}
        return parquet(pa.table(columns | ({"note": texts} if is_wide else {})))


def day_of(key: str) -> str:
    """Return the Dagster partition of an object, as its key says it."""
    return key.partition("day=")[2].partition("/")[0]


def rows_of(held: dict[str, list[range]]) -> Rows:
    """Count the rows of objects."""
    return Counter((key, row) for key, all_ in held.items() for rows in all_ for row in rows)


_BEFORE = {
    "a/1.parquet": range(5),
    "a/2.parquet": range(5),
    "a/3.parquet": MALFORMED,
    "a/4-large.parquet": range(3_000),
}
_THEN = {
    "a/1.parquet": range(100, 104),
    "a/2.parquet": MALFORMED,
    "a/3.parquet": range(6),
    "a/4-large.parquet": range(5_000, 9_000),
    "a/5.parquet": range(7),
}

REPLACING = Scenario("overwritten, replace", _BEFORE, {**_THEN})
REFRESHED = Scenario(
    "full refresh",
    _BEFORE,
    {**_THEN, "a/2.parquet": range(100, 104), "a/6.parquet": MALFORMED},
    config={"full_refresh": True},
)
_DAYS = ("2024-05-01", "2024-05-05")
_DAILY = {
    "layout": {
        "rules": [
            {"match": "{table}/{hive}/*.parquet", "types": {"day": "date"}}
            | {"partitions": "daily(day)"}
        ]
    }
}
_BACKFILLED = {
    "a/day=2024-05-01/1.parquet": range(5),
    "a/day=2024-05-01/2.parquet": range(5),
    "a/day=2024-05-02/1.parquet": MALFORMED,
    "a/day=2024-05-03/1-large.parquet": range(3_000),
}
_THEN_BACKFILLED = {
    "a/day=2024-05-01/1.parquet": range(100, 104),
    "a/day=2024-05-01/3.parquet": range(6),
    "a/day=2024-05-02/1.parquet": range(6),
    "a/day=2024-05-03/1-large.parquet": range(5_000, 9_000),
    "a/day=2024-05-03/2.parquet": MALFORMED,
    "a/day=2024-05-05/1.parquet": range(7),  # the day before has no object
}
PARTITIONED = [
    Scenario("a range of partitions", _BACKFILLED, {**_THEN_BACKFILLED}, _DAILY, partitions=_DAYS),
    Scenario(
        "full refresh of a partition",
        _BACKFILLED,
        {**_THEN_BACKFILLED, "a/day=2024-05-01/4.parquet": MALFORMED},
        _DAILY,
        config={"full_refresh": True},
        partitions=_DAYS,
        part=("2024-05-01", "2024-05-01"),
    ),
]
SCENARIOS = [
    Scenario("first load", {}, {**_BEFORE, "a/5.parquet": range(7)}),
    REPLACING,
    Scenario("overwritten, append", _BEFORE, {**_THEN}, {"write_mode": "append"}),
    Scenario(
        "deleted, mirror",
        _BEFORE,
        {
            "a/1.parquet": None,
            "a/4-large.parquet": None,
            "a/2.parquet": range(100, 104),
            "a/3.parquet": range(6),
            "a/5.parquet": range(7),
        },
        {"write_mode": "mirror"},
    ),
    REFRESHED,
    Scenario("a column named rowid", _BEFORE, {**_THEN}, column="rowid"),
    Scenario("two tables", {}, {f"{key}/1.parquet": range(5) for key in "ab"}),
    Scenario("nothing new", _BEFORE, {}),
    Scenario("columns grow", _BEFORE, {**_THEN}, {"schema_mode": "evolve"}, grows=True),
    *PARTITIONED,
]


def checkpoints(number: int) -> Scenario:
    """Return a scenario of so many checkpoints, a third of which replace loaded objects."""
    return Scenario(
        "many checkpoints",
        {f"a/{each}.parquet": range(each, each + 5) for each in range(0, number, 3)},
        {f"a/{each}.parquet": range(1000 + each, 1000 + each + 4) for each in range(number)},
        {"checkpoint_bytes": 1, "concurrency": 4},
    )


MANY = checkpoints(60)
