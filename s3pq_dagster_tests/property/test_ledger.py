"""Set operations of the ledger, for any ledger and listing."""

from collections import Counter
from datetime import UTC, datetime

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from s3pq_dagster.ledger import Status, fingerprint, format_cursor
from s3pq_dagster.objects import Listing, ObjectMeta
from s3pq_dagster_tests.examples import examples
from s3pq_dagster_tests.unit.made import ledger

MOMENTS = st.datetimes(
    min_value=datetime(1970, 1, 1),  # noqa: DTZ001 - the strategy adds the zone
    max_value=datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
OBJECTS = st.builds(
    ObjectMeta,
    key=st.text("ab/:1", min_size=1, max_size=3),
    size=st.integers(0, 2),
    e_tag=st.one_of(st.none(), st.text("ab:1", min_size=1, max_size=3)),
    last_modified=MOMENTS,
)
LISTINGS = st.lists(OBJECTS, unique_by=lambda o: o.key, max_size=6)
ENTRIES = st.lists(
    st.tuples(OBJECTS, st.sampled_from(Status)),
    unique_by=lambda entry: (entry[0].key, entry[0].version, entry[0].size),
    max_size=8,
)


def versions(objects: list[ObjectMeta]) -> set[tuple[str, str, int]]:
    """Return the identities of objects."""
    return {(o.key, o.version, o.size) for o in objects}


@given(OBJECTS.map(lambda o: ObjectMeta(o.key, o.size, None, o.last_modified)))
def test_a_version_is_the_same_alone_and_in_columns(found: ObjectMeta) -> None:
    """An object and a listing of it agree on its version, whatever its time."""
    assert list(Listing.of([found]).with_version()["version"]) == [found.version]


@settings(max_examples=examples(300))
@given(LISTINGS, ENTRIES, st.booleans(), st.booleans())
def test_the_difference_is_the_set_difference(
    listed: list[ObjectMeta],
    held: list[tuple[ObjectMeta, Status]],
    mirror: bool,  # noqa: FBT001 - Hypothesis passes by position
    retry: bool,  # noqa: FBT001
) -> None:
    """Pending is exactly listing minus ledger, and removed is exactly ledger minus listing."""
    found = ledger(*held).difference(Listing.of(listed), mirror=mirror, retry_quarantined=retry)
    keep = {Status.LOADED} if retry else {Status.LOADED, Status.QUARANTINED}
    known = versions([o for o, status in held if status in keep])
    assert versions(list(found.pending)) == versions(listed) - known
    assert len(found.pending) == len(versions(listed) - known)
    gone = {o.key for o, s in held if s is Status.LOADED} - {o.key for o in listed}
    assert found.removed == (sorted(gone) if mirror else [])
    order = [(o.last_modified, o.key.encode()) for o in found.pending]
    assert order == sorted(order)


@given(LISTINGS, ENTRIES)
def test_accounted_and_pending_make_the_listing(
    listed: list[ObjectMeta], held: list[tuple[ObjectMeta, Status]]
) -> None:
    """Each listed object is either accounted for or pending, never both."""
    now = ledger(*held)
    listing = Listing.of(listed)
    accounted, pending = list(now.accounted(listing)), list(now.difference(listing).pending)
    assert versions(accounted) | versions(pending) == versions(listed)
    assert len(accounted) + len(pending) == len(listed)


@settings(max_examples=examples(300))
@given(ENTRIES, st.lists(st.sampled_from(["a", "b", "c", None]), max_size=6))
def test_only_the_keys_whose_rows_differ_fail_to_reconcile(
    held: list[tuple[ObjectMeta, Status]], rows: list[str | None]
) -> None:
    """Every key whose number of rows differs is found; each loaded entry has one row here."""
    said = Counter(o.key for o, status in held if status is Status.LOADED)
    found = Counter(rows)
    counts = pl.DataFrame(
        list(found.items()), schema={"key": pl.String, "rows": pl.Int64}, orient="row"
    )
    differing = {key for key in {*said, *found} if said[str(key)] != found[key]}
    reconciled = ledger(*held).reconcile(counts)
    assert set(reconciled["key"]) == differing
    assert reconciled.height == len(differing)
    for key, ledger_rows, table_rows in reconciled.rows():
        assert (ledger_rows, table_rows) == (said[key], found[key])


@given(LISTINGS, st.randoms())
def test_a_fingerprint_knows_no_order(listed: list[ObjectMeta], random: object) -> None:
    """Shuffling a listing does not change its fingerprint."""
    shuffled = list(listed)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert fingerprint(Listing.of(shuffled)) == fingerprint(Listing.of(listed))


@settings(max_examples=examples(300))
@given(LISTINGS, LISTINGS)
def test_a_fingerprint_tells_sets_apart(one: list[ObjectMeta], other: list[ObjectMeta]) -> None:
    """Two listings have one fingerprint when, and only when, they are the same set."""
    same = fingerprint(Listing.of(one)) == fingerprint(Listing.of(other))
    assert same == (versions(one) == versions(other))


@given(MOMENTS)
def test_a_cursor_reads_back(moment: datetime) -> None:
    """A formatted cursor is the same time when read back, without trailing zeros."""
    text = format_cursor(moment)
    assert datetime.fromisoformat(text) == moment
    assert not text.removesuffix("Z").endswith(".")
    assert ("." not in text) or not text.removesuffix("Z").endswith("0")
