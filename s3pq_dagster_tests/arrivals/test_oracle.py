"""What must be in a table follows from what was seen."""

from collections.abc import Sequence

import pytest

from s3pq_dagster_tests.arrivals.oracle import Seen, Sightings
from s3pq_dagster_tests.arrivals.plan import Content, Form

KEY = "t0/a.parquet"
A, B = Content(1, 0, 2), Content(1, 1, 3)
BAD = Content(1, 2, 0, Form.MALFORMED)


def seen(blocks: Sequence[Seen]) -> Sightings:
    """Record one look for each block."""
    sightings = Sightings()
    for block in blocks:
        sightings.see("t0", {} if block is None else {KEY: block})
    return sightings


@pytest.mark.parametrize(
    ("blocks", "append", "replace", "mirror"),
    [
        ([A], [A], [A], [A]),
        ([A, B], [A, B], [B], [B]),
        ([A, B, A], [A, B], [A], [A]),
        ([A, None], [A], [A], []),
        ([A, None, A], [A], [A], [A]),
        ([A, BAD], [A], [A], [A]),
        ([A, BAD, None], [A], [A], []),
        ([A, None, BAD], [A], [A], []),
        ([BAD], [], [], []),
        ([BAD, B], [B], [B], [B]),
    ],
)
def test_each_write_mode_holds_what_it_says(
    blocks: list[Seen], append: list[Content], replace: list[Content], mirror: list[Content]
) -> None:
    """A table holds all good versions, the last good one, or that of objects still there."""
    sightings = seen(blocks)
    held = {
        mode: [content for _, content in sightings.held(mode)]
        for mode in ("append", "replace", "mirror")
    }
    assert held == {"append": append, "replace": replace, "mirror": mirror}


@pytest.mark.parametrize(
    ("blocks", "append", "replace", "mirror"),
    [([A, A], 1, 1, 1), ([A, B, A], 1, 2, 2), ([A, None, A], 1, 1, 2), ([B], 1, 0, 0)],
)
def test_a_version_may_be_read_once_each_time_it_is_new(
    blocks: list[Seen], append: int, replace: int, mirror: int
) -> None:
    """A version is new if it replaces another one or, in a mirror, nothing."""
    sightings = seen(blocks)
    most = {mode: sightings.most_reads(KEY, A, mode) for mode in ("append", "replace", "mirror")}
    assert most == {"append": append, "replace": replace, "mirror": mirror}


def test_a_listing_of_another_table_proves_nothing_about_this_one() -> None:
    """An object is deleted only if a look at its own table did not find it."""
    sightings = seen([A])
    sightings.see("t1", {})
    assert list(sightings.held("mirror")) == [(KEY, A)]
