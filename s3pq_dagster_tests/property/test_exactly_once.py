"""Any sequence of puts, overwrites, deletions and loads ends with every row exactly once."""

import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.errors import EmptyListingError
from s3pq_dagster.ledger import fingerprint
from s3pq_dagster.loading.plan import LoadOptions, LoadPlan
from s3pq_dagster.loading.table_load import TableLoad
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.destinations.places import PLACES, Place
from s3pq_dagster_tests.examples import examples
from s3pq_dagster_tests.levels import first_of
from s3pq_dagster_tests.unit.made import listed, logger, opened, spec

KEYS = ["t/a", "t/b", "t/c"]
CONTENTS = range(4)
"""Content number ``n`` is ``n`` rows of ``n``: none at all for 0."""
MALFORMED = -1

PUT = st.tuples(st.just("put"), st.sampled_from(KEYS), st.sampled_from([*CONTENTS, MALFORMED]))
DELETE = st.tuples(st.just("delete"), st.sampled_from(KEYS), st.just(0))
LOAD = st.tuples(st.sampled_from(["load", "load", "load one", "refresh"]), st.just(""), st.just(0))
STEPS = st.lists(st.one_of(PUT, PUT, DELETE, LOAD), max_size=8)
Step = tuple[str, str, int]

MODES = ("replace", "append", "mirror")
CASES = [
    *first_of((("duckdb", mode) for mode in MODES), others=pytest.mark.nightly),
    *(
        pytest.param(
            kind,
            mode,
            marks=pytest.mark.thorough if place % 3 == number else pytest.mark.nightly,
        )
        for place, kind in enumerate(PLACES)
        for number, mode in enumerate(MODES)
        if kind != "duckdb"
    ),
]


@dataclass
class Model:
    """The expected content of the table, computed in the simplest way."""

    write_mode: str
    bucket: dict[str, int] = field(default_factory=dict)
    held: dict[str, list[int]] = field(default_factory=dict)
    """Contents that are loaded of each key, oldest first."""

    def load(self, keys: list[str]) -> None:
        """Load some of the keys in the bucket."""
        if self.write_mode == "mirror":
            self.held = {k: v for k, v in self.held.items() if k in self.bucket}
        for key in keys:
            content = self.bucket[key]
            before = self.held.get(key, [])
            if content == MALFORMED or content in before:
                continue
            self.held[key] = [*before, content] if self.write_mode == "append" else [content]

    @property
    def rows(self) -> Counter[tuple[str, int]]:
        counted = Counter({(k, c): c for k, contents in self.held.items() for c in contents})
        return +counted


@pytest.mark.parametrize(("kind", "write_mode"), CASES)
@settings(max_examples=examples(8), suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(
    steps=[("put", "t/a", 1), ("load", "", 0), ("put", "t/a", 2), ("load", "", 0)] * 2
)  # a content that comes back
@example(
    steps=[
        ("put", "t/a", 2),
        ("load", "", 0),
        ("put", "t/a", MALFORMED),
        ("load", "", 0),
        ("delete", "t/a", 0),
        ("put", "t/b", 1),
        ("load", "", 0),
        ("put", "t/a", 2),
    ]
)
@example(steps=[("put", "t/a", 3), ("load", "", 0), ("delete", "t/a", 0), ("load", "", 0)])
@given(steps=STEPS)
def test_every_row_is_there_exactly_once(
    bucket: Bucket, kind: str, write_mode: str, steps: list[Step]
) -> None:
    """Whatever happens to the bucket between loads, the table has the rows of the write mode."""
    for key in KEYS:
        bucket.delete(key)
    model = Model(write_mode)
    with tempfile.TemporaryDirectory() as directory, opened(bucket) as store:
        place = PLACES[kind](Path(directory))
        for step, key, content in [*steps, ("load", "", 0)]:
            if step == "put":
                model.bucket[key] = content
                bucket.put(key, body(content))
            elif step == "delete":
                model.bucket.pop(key, None)
                bucket.delete(key)
            else:
                load = TableLoad(
                    plan=LoadPlan(
                        spec=spec(**bucket.spec, write_mode=write_mode, checkpoint_bytes=1),
                        owner=Owner("t", bucket.name, "t/"),
                        listing=listed(store, "t/"),
                        options=LoadOptions(
                            full_refresh=step == "refresh",
                            max_objects=1 if step == "load one" else None,
                        ),
                    ),
                    store=store,
                    log=logger(),
                )
                _load(load, model, place, step)
                assert rows_in(place) == model.rows
        place.discard()


def _load(load: TableLoad, model: Model, place: Place, step: str) -> None:
    destination = place.open()
    state = destination.state(load.plan.owner)
    would_empty = model.write_mode == "mirror" or step == "refresh"
    emptied = would_empty and not model.bucket and any(model.held)
    if emptied:
        with pytest.raises(EmptyListingError):
            load.into(destination)
        return
    if step == "refresh":
        model.held = {}
        model.load(list(model.bucket))
    else:
        model.load([o.key for o in load.plan.difference(state).pending])
    report = load.into(destination)
    assert report.table_rows == model.rows.total()
    if step != "load one":
        assert report.fingerprint == fingerprint(load.plan.listing)


def body(content: int) -> pa.Table | bytes:
    """Make the object with a content."""
    if content == MALFORMED:
        return b"not Parquet"
    return pa.table({"n": pa.array([content] * content, pa.int64())})


def rows_in(place: Place) -> Counter[tuple[str, int]]:
    """Count the table's rows by key and content."""
    return Counter(place.select("t", ["_s3_key", "n"]) if "t" in place.tables() else [])
