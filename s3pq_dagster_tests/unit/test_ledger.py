"""What is loaded, as a set."""

from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest

from s3pq_dagster.ledger import Ledger, Status, cursor_key, fingerprint, format_cursor, latest
from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster_tests.unit.made import NOON, keys, ledger, listing, meta

LOADED, QUARANTINED, REMOVED = Status.LOADED, Status.QUARANTINED, Status.REMOVED


def test_everything_is_pending_for_an_empty_ledger() -> None:
    """All listed objects of a new table are pending, the oldest first."""
    found = Ledger.empty().difference(listing(meta("b", second=2), meta("a", second=3)))
    assert keys(found.pending) == ["b", "a"]
    assert bool(found)


def test_nothing_is_pending_when_all_is_loaded() -> None:
    """Nothing is pending if the ledger has the same objects, in any order."""
    a, b = meta("a"), meta("b")
    found = ledger((a, LOADED), (b, LOADED)).difference(listing(b, a))
    assert not found
    assert (keys(found.pending), found.removed) == ([], [])


@pytest.mark.parametrize("second", [-3600, 0, 3600])
def test_no_time_decides_what_is_pending(second: int) -> None:
    """A late, tied or future object is pending because it is not in the ledger."""
    old = ledger((meta("a"), LOADED))
    assert keys(old.difference(listing(meta("a"), meta("new", second=second))).pending) == ["new"]
    assert not old.difference(listing(meta("a", second=second)))


def test_an_object_is_quarantined_in_one_version() -> None:
    """An object that was replaced or is no longer listed is not quarantined any more."""
    held = ledger((meta("a"), QUARANTINED), (meta("b"), QUARANTINED), (meta("c"), LOADED))
    assert held.quarantined(listing(meta("a"), meta("c")))["key"].to_list() == ["a"]
    assert held.quarantined(listing(meta("a", "v2"))).is_empty()


def test_a_footer_that_says_other_rows_is_found() -> None:
    """Only the loaded version is compared; each loaded object has one row here."""
    held = ledger((meta("a"), LOADED), (meta("b"), LOADED), (meta("c"), QUARANTINED))
    said = [("a", "v1", 10, 1), ("b", "v1", 10, 5), ("b", "v2", 10, 7), ("c", "v1", 10, 9)]
    columns = ["key", "version", "size", "footer_rows"]
    footers = pl.DataFrame(said, schema=columns, orient="row")
    assert held.reconcile_footers(footers).rows() == [("b", 1, 5)]


@pytest.mark.parametrize(
    ("now", "pending"),
    [
        (meta("a", "v2"), True),
        (meta("a", "v1", size=99), True),
        (meta("a", "v1", second=5), False),
        (meta("a", None), True),
        (meta("A", "v1"), True),
    ],
)
def test_a_new_version_is_pending(now: ObjectMeta, *, pending: bool) -> None:
    """Another e_tag or size makes an object pending; the same content put again does not."""
    assert bool(ledger((meta("a", "v1"), LOADED)).difference(listing(now))) is pending


@pytest.mark.parametrize(
    ("now", "pending"),
    [(meta("a", None), False), (meta("a", None, size=9), True), (meta("a", None, second=1), True)],
)
def test_without_e_tags_size_and_time_tell(now: ObjectMeta, *, pending: bool) -> None:
    """Without e_tags, overwritten objects are noticed by size and time."""
    assert bool(ledger((meta("a", None), LOADED)).difference(listing(now))) is pending


@pytest.mark.parametrize(
    ("status", "retry", "pending"),
    [
        (LOADED, False, False),
        (LOADED, True, False),
        (QUARANTINED, False, False),
        (QUARANTINED, True, True),
        (REMOVED, False, True),
        (REMOVED, True, True),
    ],
)
def test_a_status_says_whether_an_object_is_read_again(
    status: Status, *, retry: bool, pending: bool
) -> None:
    """Quarantined objects are pending on request only; removed ones that are back always."""
    found = ledger((meta("a"), status)).difference(listing(meta("a")), retry_quarantined=retry)
    assert bool(found) is pending


def test_a_quarantined_object_is_retried_when_it_changes() -> None:
    """A quarantined object that was replaced is pending."""
    found = ledger((meta("a", "bad"), QUARANTINED)).difference(listing(meta("a", "good")))
    assert keys(found.pending) == ["a"]


@pytest.mark.parametrize(("mirror", "removed"), [(False, []), (True, ["b", "c"])])
def test_only_mirror_removes_what_is_gone(*, mirror: bool, removed: list[str]) -> None:
    """Keys that are no longer listed are removed with mirror only."""
    held = ledger(
        (meta("c"), LOADED),
        (meta("b", "v1"), LOADED),
        (meta("b", "v2"), LOADED),
        (meta("a"), LOADED),
    )
    found = held.difference(listing(meta("a")), mirror=mirror)
    assert found.removed == removed
    assert bool(found) is mirror


@pytest.mark.parametrize("status", [QUARANTINED, REMOVED])
def test_mirror_removes_nothing_that_has_no_rows(status: Status) -> None:
    """Quarantined and removed objects that are not listed need no removal."""
    held = ledger((meta("a"), LOADED), (meta("b"), status))
    assert not held.difference(listing(meta("a")), mirror=True)


def test_mirror_keeps_a_key_that_is_listed_in_another_version() -> None:
    """An overwritten object is replaced, not removed first."""
    found = ledger((meta("a", "v1"), LOADED)).difference(listing(meta("a", "v2")), mirror=True)
    assert (keys(found.pending), found.removed) == (["a"], [])


@pytest.mark.parametrize("status", [LOADED, QUARANTINED])
def test_an_e_tag_with_another_size_is_another_object(status: Status) -> None:
    """It is pending, not accounted for, not quarantined, and the ledger tells why."""
    held = ledger((meta("a"), status), (meta("b"), status))
    now = listing(meta("a", size=99), meta("b"))
    assert keys(held.difference(now).pending) == ["a"]
    assert keys(held.accounted(now)) == ["b"]
    assert "a" not in held.quarantined(now)["key"]
    assert not held.holds(meta("a", size=99))
    assert held.resized(held.difference(now).pending).rows() == [("a", "v1", 10, 99)]


@pytest.mark.parametrize(
    "found", [meta("a", "v2", size=99), meta("a"), meta("a", None, size=99), meta("b", size=99)]
)
def test_only_an_e_tag_with_another_size_is_resized(found: ObjectMeta) -> None:
    """Another e_tag, no e_tag, the same size and another key are not."""
    assert ledger((meta("a"), LOADED)).resized(listing(found)).is_empty()


@pytest.mark.parametrize(
    ("held", "mixed"),
    [
        ([meta("a", "v1")], False),
        ([meta("a", "v0"), meta("a", "v1")], True),
        ([meta("a", "v0")], False),
        ([meta("a", "v0"), meta("b", "v1")], False),
    ],
)
def test_rows_to_replace_may_be_mixed_with_others(held: list[ObjectMeta], *, mixed: bool) -> None:
    """They are where the e_tag is loaded with another size, beside another version."""
    entries = [(found, LOADED) for found in held]
    assert ledger(*entries).is_mixed(meta("a", "v1", size=99)) is mixed


def test_accounted_is_what_is_held_in_this_version() -> None:
    """Loaded and quarantined objects count; removed ones and other versions do not."""
    held = ledger(
        (meta("a"), LOADED),
        (meta("b"), QUARANTINED),
        (meta("c"), REMOVED),
        (meta("d", "v0"), LOADED),
        (meta("gone"), LOADED),
    )
    found = held.accounted(listing(*map(meta, "abcde")))
    assert sorted(keys(found)) == ["a", "b"]


def test_the_cursor_is_the_latest_of_what_is_loaded() -> None:
    """Quarantined and removed objects do not change the cursor."""
    held = ledger(
        (meta("a", second=5), LOADED),
        (meta("b", second=3), LOADED),
        (meta("c", second=9), QUARANTINED),
        (meta("d", second=8), REMOVED),
    )
    assert held.cursor == NOON + timedelta(seconds=5)


def test_the_latest_of_no_moments_is_none() -> None:
    """Objects without a time are left out of the cursor."""
    later = NOON + timedelta(seconds=1)
    assert latest([later, None, NOON]) == later
    assert latest([None]) is None
    assert latest([]) is None


def test_an_empty_ledger_has_no_cursor() -> None:
    """Without loaded objects there is no cursor."""
    assert Ledger.empty().cursor is None
    assert ledger((meta("a"), QUARANTINED)).cursor is None


def test_entries_are_counted_by_status() -> None:
    """Each status has its own count."""
    held = ledger((meta("a"), LOADED), (meta("b"), LOADED), (meta("c"), QUARANTINED))
    assert [held.count(status) for status in Status] == [2, 1, 0]


def test_a_fingerprint_knows_no_order() -> None:
    """The order does not matter, and the fingerprint has 128 bits."""
    a, b, c = meta("a"), meta("b"), meta("c")
    assert fingerprint(listing(a, b, c)) == fingerprint(listing(c, a, b))
    assert len(bytes.fromhex(fingerprint(listing(a)))) == 16


def test_a_fingerprint_is_stable_across_releases() -> None:
    """Stored fingerprints stay comparable: these are the first release's."""
    assert fingerprint(listing()) == "e3b0c44298fc1c149afbf4c8996fb924"
    assert fingerprint(listing(meta("ü", "tag"), meta("a", "t"))) == (
        "475539a728c7e48ff28b4da332a646a0"
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([], [meta("a")]),
        ([meta("a")], [meta("b")]),
        ([meta("a", "v1")], [meta("a", "v2")]),
        ([meta("a", "v1")], [meta("a", None)]),
        ([meta("ab", "c")], [meta("a", "bc")]),
        ([meta("a", "1:b")], [meta("a", "1"), meta("b", "")]),
        ([meta("a", None)], [meta("a", None, size=11)]),
        ([meta("a", None)], [meta("a", None, second=1)]),
        ([meta("é")], [meta("e\u0301")]),
    ],
)
def test_a_fingerprint_changes_with_the_set(one: list[ObjectMeta], other: list[ObjectMeta]) -> None:
    """Another key or another version changes the fingerprint."""
    assert fingerprint(listing(*one)) != fingerprint(listing(*other))


def test_a_fingerprint_ignores_what_is_no_version() -> None:
    """The time does not change the fingerprint of an object with an e_tag."""
    assert fingerprint(listing(meta("a"))) == fingerprint(listing(meta("a", second=9)))


@pytest.mark.thorough
def test_a_fingerprint_reads_more_than_one_slice() -> None:
    """A listing longer than a slice has the fingerprint of the whole."""
    many = [meta(f"k{i:06d}") for i in range(70_000)]
    assert fingerprint(listing(*many)) == fingerprint(listing(*reversed(many)))
    assert fingerprint(listing(*many)) != fingerprint(listing(*many[:-1]))


def test_the_cursor_key_is_cloudquerys() -> None:
    """The key is that of cq-source-s3's state."""
    assert cursor_key("lake", "data_2024") == "s3/lake/data_2024/last_modified_cursor"


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (NOON, "2024-02-14T12:00:00Z"),
        (NOON.replace(microsecond=123_456), "2024-02-14T12:00:00.123456Z"),
        (NOON.replace(microsecond=123_000), "2024-02-14T12:00:00.123Z"),
        (NOON.replace(microsecond=500_000), "2024-02-14T12:00:00.5Z"),
        (NOON.replace(microsecond=1), "2024-02-14T12:00:00.000001Z"),
        (NOON.replace(microsecond=100), "2024-02-14T12:00:00.0001Z"),
        (
            datetime(2024, 1, 1, 0, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))),
            "2023-12-31T19:00:00Z",
        ),
        (
            datetime(2024, 1, 1, 0, 0, 0, 10, tzinfo=timezone(timedelta(hours=-8))),
            "2024-01-01T08:00:00.00001Z",
        ),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00Z"),
    ],
)
def test_a_cursor_is_written_as_go_does(moment: datetime, text: str) -> None:
    """The format is RFC3339Nano in UTC, without trailing zeros."""
    assert format_cursor(moment) == text


def test_a_ledger_holds_what_is_loaded_in_that_version() -> None:
    """Another version, another key or a quarantined object is not held."""
    known = ledger(
        (meta("a", "1"), LOADED),
        (meta("b", "1"), QUARANTINED),
        (meta("c", None, size=3), LOADED),
    )
    assert known.holds(meta("a", "1"))
    assert known.holds(meta("c", None, size=3))
    assert not known.holds(meta("a", "2"))
    assert not known.holds(meta("b", "1"))
    assert not known.holds(meta("c", None, size=4))
    assert not known.holds(meta("d", "1"))
