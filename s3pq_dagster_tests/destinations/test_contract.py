"""Every promise of the destination protocol, for every destination."""

import datetime as dt
import multiprocessing
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from s3pq_dagster.destinations.protocol import Destination, TableWriter
from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.errors import (
    DestinationError,
    DestinationLockedError,
    LedgerVersionError,
    TableNotManagedError,
    TableOwnedElsewhereError,
    UnsupportedSchemaError,
)
from s3pq_dagster.ledger import FORMAT_VERSION, Entry, Status
from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster_tests.destinations.columns import COLUMNS, REFUSED
from s3pq_dagster_tests.destinations.places import PLACES, Place, held
from s3pq_dagster_tests.destinations.places.all_places import ALL_PLACES
from s3pq_dagster_tests.destinations.tables import (
    OWNER,
    SCHEMA,
    BrokenOffError,
    batch,
    commit,
    entries,
    ids_by_key,
    load,
    loaded,
    rows,
    sealed,
    stream,
)
from s3pq_dagster_tests.unit.made import Lines, logger, meta

A1, A2, A3 = meta("orders/a", "v1"), meta("orders/a", "v2", second=5), meta("orders/a", "v3")
BROKEN = (BrokenOffError, DestinationError)
"""What a stream that breaks comes out as: drivers keep no more than an exception's text."""
ITEMS = Owner("items", "lake", "items/")
B1, C1 = meta("orders/b", "v1", second=1), meta("orders/c", "v1", second=2)


def each_of(places: Iterable[str]) -> list[Any]:
    """Give places as parameters; what is not one of each kind is for thorough runs."""
    return [p if p in PLACES else pytest.param(p, marks=pytest.mark.thorough) for p in places]


ONE_OF_EACH_KIND = pytest.mark.parametrize("place", PLACES, indirect=True)
"""What types and names are is no matter of the place."""


@pytest.fixture(params=each_of(ALL_PLACES))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A place for each destination there is."""
    found = ALL_PLACES[request.param](tmp_path)
    yield found
    found.discard()


@pytest.fixture
def destination(place: Place) -> Destination:
    """A destination that holds nothing yet."""
    return place.open()


def write(destination: Destination, *, append: bool = False, refresh: bool = False) -> Any:
    """Open the table for writing."""
    return destination.write(OWNER, run_id="run", append=append, refresh=refresh)


def write_column(destination: Destination, column: pa.Array, name: str = "c") -> None:
    """Load one object of one column."""
    keys = pa.array(["orders/a"] * len(column))
    each = pa.record_batch([column, keys], names=[name, "_s3_key"])
    with write(destination) as writer:
        writer.commit(
            stream(each), schema_key="orders/a", seal=lambda: sealed(loaded(A1, len(column)))
        )


# Looking


def test_a_destination_that_is_not_there_is_empty(destination: Destination) -> None:
    """Before the first load there is neither table nor ledger, and looking makes none."""
    for _ in range(2):
        state = destination.state(OWNER)
        assert (state.exists, state.schema, state.schema_key, state.rows) == (False, None, None, 0)
        assert state.ledger.frame.is_empty()


def test_a_look_at_many_tables_is_that_at_each(destination: Destination) -> None:
    """Others may be left out of it, the first may not."""
    load(destination, (A1, 3), (B1, 2))
    load(destination, (C1, 1), owner=ITEMS)
    never = Owner("never", "lake", "never/")
    for first, *others in ((OWNER, ITEMS, never), (never, OWNER), (ITEMS,)):
        found = destination.states([first, *others])
        assert {first} <= set(found) <= {first, *others}
        for owner, state in found.items():
            alone = destination.state(owner)
            assert state.ledger.frame.sort("key").equals(alone.ledger.frame.sort("key"))
            assert (state.rows, state.schema, state.schema_key, state.exists) == (
                (alone.rows, alone.schema, alone.schema_key, alone.exists)
            )


def test_a_look_at_many_tables_fails_with_the_first_alone(destination: Destination) -> None:
    """What is wrong with another is told to who asks for that."""
    load(destination, (A1, 3))
    load(destination, (C1, 1), owner=ITEMS)
    foreign = Owner(ITEMS.table, "elsewhere", ITEMS.prefix)
    assert set(destination.states([OWNER, foreign])) == {OWNER}
    with pytest.raises(TableOwnedElsewhereError, match="elsewhere"):
        destination.states([foreign, OWNER])


def test_a_destination_has_a_kind(destination: Destination) -> None:
    """Dagster shows an icon by it."""
    assert destination.kind


# Loading


def test_a_first_load_makes_the_table(destination: Destination) -> None:
    """Rows, schema, its origin and the ledger are there once the context ends."""
    load(destination, (A1, 3), (B1, 2))
    state = destination.state(OWNER)
    assert (state.exists, state.rows, state.schema, state.schema_key) == (True, 5, SCHEMA, A1.key)
    assert ids_by_key(destination) == {A1.key: [0, 1, 2], B1.key: [0, 1]}


@pytest.mark.parametrize("e_tag", ["v1", None])
def test_the_ledger_keeps_the_facts_of_an_object(destination: Destination, e_tag: str) -> None:
    """What is listed again unchanged is found unchanged, odd keys and missing e_tags included."""
    found = meta("orders//ü '\";\x01 \U0001f600", e_tag, size=2**40, second=7)
    load(destination, (found, 1))
    (entry,) = destination.state(OWNER).ledger.frame.to_dicts()
    assert entry == {
        "key": found.key,
        "e_tag": e_tag,
        "size": 2**40,
        "last_modified": found.last_modified,
        "rows": 1,
        "status": "loaded",
        "reason": None,
    }
    assert ids_by_key(destination) == {found.key: [0]}


def test_microseconds_of_a_version_survive(destination: Destination) -> None:
    """Without an e_tag the time is the version, so that none of it may be cut."""
    moment = dt.datetime(2024, 2, 14, 12, 0, 0, 123_457, tzinfo=dt.UTC)
    found = ObjectMeta("orders/a", 5, None, moment)
    load(destination, (found, 1))
    state = destination.state(OWNER)
    assert list(state.ledger.frame["last_modified"]) == [moment]
    assert state.ledger.cursor == moment


def test_a_writer_sees_what_it_committed(destination: Destination) -> None:
    """Within one context each checkpoint is in the state after it."""
    with write(destination) as writer:
        assert not writer.state().exists
        commit(writer, (A1, 3))
        assert (writer.state().rows, writer.state().schema) == (3, SCHEMA)
        commit(writer, (B1, 2))
        assert writer.state().rows == 5


def test_objects_add_up_over_loads(destination: Destination) -> None:
    """New objects' rows join those that are there; the schema's origin stays."""
    load(destination, (A1, 3))
    load(destination, (B1, 2))
    state = destination.state(OWNER)
    assert (state.rows, state.schema_key) == (5, A1.key)
    assert entries(destination) == [(A1.key, "v1", "loaded"), (B1.key, "v1", "loaded")]


def test_many_small_batches_arrive_whole_and_in_order(destination: Destination) -> None:
    """A destination may join batches, but loses, doubles and reorders none."""
    batches = [batch(A1.key, 7, start=7 * i) for i in range(6000)]
    with write(destination) as writer:
        writer.commit(stream(*batches), schema_key=A1.key, seal=lambda: sealed(loaded(A1, 42_000)))
    with destination.read("orders", ["id"]) as reader:
        assert reader.read_all().column("id").to_pylist() == list(range(42_000))


def test_columns_are_matched_by_name(destination: Destination) -> None:
    """A later batch in another order of columns puts values where their names are."""
    load(destination, (A1, 1))
    other = batch(B1.key, 1, start=9).select(["_s3_key", "text", "id"])
    with write(destination) as writer:
        writer.commit(stream(other), schema_key=B1.key, seal=lambda: sealed(loaded(B1, 1)))
    assert {"id": 9, "text": "row 9", "_s3_key": B1.key} in rows(destination)


def test_the_seal_is_asked_for_once_the_rows_are_drained(destination: Destination) -> None:
    """Entries are known only then."""
    drained: list[int] = []

    def seal() -> Any:
        drained.append(1)
        return sealed(loaded(A1, 2))

    def generate() -> Any:
        yield batch(A1.key, 2)
        assert not drained

    with write(destination) as writer:
        reader = pa.RecordBatchReader.from_batches(SCHEMA, generate())
        writer.commit(reader, schema_key=A1.key, seal=seal)
    assert drained == [1]


def test_zero_rows_make_the_table(destination: Destination) -> None:
    """A file without rows has its table with its schema, and its entry."""
    load(destination, (A1, 0))
    state = destination.state(OWNER)
    assert (state.exists, state.rows, state.schema) == (True, 0, SCHEMA)
    assert entries(destination) == [(A1.key, "v1", "loaded")]
    with destination.read("orders", None) as reader:
        assert reader.read_all().schema.equals(SCHEMA)


def test_a_stream_without_batches_makes_the_table(destination: Destination) -> None:
    """A schema without a single batch is a table all the same."""
    with write(destination) as writer:
        writer.commit(stream(), schema_key=A1.key, seal=lambda: sealed(loaded(A1, 0)))
    assert destination.state(OWNER).exists


def test_a_ledger_can_be_there_before_its_table(destination: Destination) -> None:
    """All quarantined: entries, and no table; the first rows make it."""
    entry = Entry(A1, Status.QUARANTINED, 0, "it has 0 bytes")
    with write(destination) as writer:
        writer.commit(None, schema_key=None, seal=lambda: sealed(entry))
    state = destination.state(OWNER)
    assert (state.exists, state.schema, state.rows) == (False, None, 0)
    assert entries(destination) == [(A1.key, "v1", "quarantined")]
    load(destination, (B1, 2))
    assert ids_by_key(destination) == {B1.key: [0, 1]}
    assert entries(destination) == [(A1.key, "v1", "quarantined"), (B1.key, "v1", "loaded")]


def test_tables_do_not_know_each_other(destination: Destination) -> None:
    """Two tables with objects of one key keep their own rows and entries."""
    other = Owner("returns", "lake", "returns/")
    load(destination, (A1, 3))
    load(destination, (A1, 2), owner=other, start=10)
    load(destination, (A2, 1), owner=other, start=20)
    assert ids_by_key(destination) == {A1.key: [0, 1, 2]}
    assert ids_by_key(destination, "returns") == {A1.key: [20]}
    assert entries(destination) == [(A1.key, "v1", "loaded")]


# Write modes


@pytest.mark.parametrize(
    ("append", "ids", "e_tags"),
    [(False, [10, 11], ["v2"]), (True, [0, 1, 2, 10, 11], ["v1", "v2"])],
    ids=["replace", "append"],
)
def test_an_overwritten_object(
    destination: Destination, ids: list[int], e_tags: list[str], *, append: bool
) -> None:
    """Its rows are those of its current version; in append they are added."""
    load(destination, (A1, 3), (B1, 1), append=append)
    load(destination, (A2, 2), append=append, start=10)
    assert ids_by_key(destination) == {A1.key: ids, B1.key: [0]}
    assert [e_tag for key, e_tag, _ in entries(destination) if key == A1.key] == e_tags


def test_a_version_that_comes_back_replaces_again(destination: Destination) -> None:
    """v1, v2 and v1 once more end with v1's rows, once."""
    load(destination, (A1, 3))
    load(destination, (A2, 2), start=10)
    load(destination, (A1, 3), start=20)
    assert ids_by_key(destination) == {A1.key: [20, 21, 22]}
    assert entries(destination) == [(A1.key, "v1", "loaded")]


def test_an_object_overwritten_by_an_empty_one_has_no_rows(destination: Destination) -> None:
    """Replacing by zero rows is replacing."""
    load(destination, (A1, 3), (B1, 1))
    load(destination, (A2, 0))
    assert ids_by_key(destination) == {B1.key: [0]}


def test_without_e_tags_an_overwritten_object_is_replaced(destination: Destination) -> None:
    """The key says whose rows go, not the e_tag."""
    load(destination, (meta("orders/a", None), 3))
    load(destination, (meta("orders/a", None, second=9), 2), start=10)
    assert ids_by_key(destination) == {A1.key: [10, 11]}
    assert entries(destination) == [(A1.key, None, "loaded")]


def test_a_malformed_new_version_leaves_the_old_rows(destination: Destination) -> None:
    """Quarantine is beside what is loaded, until a version can be read again."""
    load(destination, (A1, 3))
    with write(destination) as writer:
        bad = Entry(A2, Status.QUARANTINED, 0, "truncated")
        writer.commit(None, schema_key=None, seal=lambda: sealed(bad))
    assert ids_by_key(destination) == {A1.key: [0, 1, 2]}
    assert entries(destination) == [(A1.key, "v1", "loaded"), (A1.key, "v2", "quarantined")]
    load(destination, (A3, 1), start=30)
    assert ids_by_key(destination) == {A1.key: [30]}
    assert entries(destination) == [(A1.key, "v3", "loaded")]


@pytest.mark.parametrize("append", [False, True], ids=["replace", "append"])
def test_a_quarantined_object_that_reads_at_last_is_loaded(
    destination: Destination, *, append: bool
) -> None:
    """The very same version can leave quarantine, and is entered once."""
    with write(destination, append=append) as writer:
        bad = Entry(A1, Status.QUARANTINED, 0, "denied")
        writer.commit(None, schema_key=None, seal=lambda: sealed(bad))
    load(destination, (A1, 2), append=append)
    assert entries(destination) == [(A1.key, "v1", "loaded")]


def test_quarantined_again_is_one_entry(destination: Destination) -> None:
    """An object that is tried again in vain does not pile up."""
    bad = Entry(A1, Status.QUARANTINED, 0, "truncated")
    for _ in range(2):
        with write(destination) as writer:
            writer.commit(None, schema_key=None, seal=lambda: sealed(bad))
    assert entries(destination) == [(A1.key, "v1", "quarantined")]


def test_removing_deletes_rows_and_marks_entries(destination: Destination) -> None:
    """Rows of removed keys go, their number is given, and the ledger remembers."""
    load(destination, (A1, 3), (B1, 2), (C1, 1))
    with write(destination) as writer:
        assert writer.remove([A1.key, C1.key], seal=sealed) == 4
    assert ids_by_key(destination) == {B1.key: [0, 1]}
    assert entries(destination) == [
        (A1.key, "v1", "removed"),
        (B1.key, "v1", "loaded"),
        (C1.key, "v1", "removed"),
    ]


@pytest.mark.parametrize("again", [A1, A2], ids=["same version", "new version"])
def test_a_removed_object_can_come_back(destination: Destination, again: Any) -> None:
    """Deleted and put again is loaded again, and entered once."""
    load(destination, (A1, 3))
    with write(destination) as writer:
        writer.remove([A1.key], seal=sealed)
    load(destination, (again, 2), start=10)
    assert ids_by_key(destination) == {A1.key: [10, 11]}
    assert entries(destination) == [(A1.key, again.e_tag, "loaded")]


# All or nothing


@pytest.mark.parametrize("break_at", range(4))
@pytest.mark.parametrize("before", [False, True], ids=["new table", "old table"])
def test_a_stream_that_breaks_leaves_no_rows(
    destination: Destination, break_at: int, *, before: bool
) -> None:
    """At whichever batch it breaks, neither rows nor entries of it are there; a retry works."""
    if before:
        load(destination, (A1, 3), start=50)
    was = (destination.state(OWNER).exists, entries(destination))
    broken = stream(*(batch(A1.key, 20_000, i * 20_000) for i in range(3)), break_at=break_at)
    with pytest.raises(BROKEN), write(destination) as writer:
        writer.commit(broken, schema_key=A1.key, seal=lambda: sealed(loaded(A2, 60_000)))
    assert (destination.state(OWNER).exists, entries(destination)) == was
    if before:
        assert ids_by_key(destination) == {A1.key: [50, 51, 52]}
    load(destination, (A2, 1))
    assert ids_by_key(destination) == {A1.key: [0]}


def test_a_seal_that_fails_leaves_no_rows(destination: Destination) -> None:
    """What breaks between rows and ledger leaves neither."""

    def fail() -> Any:
        raise BrokenOffError

    with pytest.raises(BrokenOffError), write(destination) as writer:
        writer.commit(stream(batch(A1.key, 3)), schema_key=A1.key, seal=fail)
    assert not destination.state(OWNER).exists
    assert entries(destination) == []


def test_a_removal_that_fails_removes_nothing(destination: Destination) -> None:
    """What breaks while removing leaves rows and entries as they were."""

    def fail() -> Any:
        raise BrokenOffError

    load(destination, (A1, 3))
    with pytest.raises(BrokenOffError), write(destination) as writer:
        writer.remove([A1.key], seal=fail)
    assert ids_by_key(destination) == {A1.key: [0, 1, 2]}
    assert entries(destination) == [(A1.key, "v1", "loaded")]


def test_a_writer_goes_on_after_a_checkpoint_that_broke(destination: Destination) -> None:
    """A malformed object's rows are rolled back, and the next checkpoint commits all the same."""
    with write(destination) as writer:
        commit(writer, (A1, 2))
        with pytest.raises(BROKEN):
            writer.commit(stream(batch(B1.key, 5), break_at=1), schema_key=B1.key, seal=sealed)
        bad = Entry(B1, Status.QUARANTINED, 0, "truncated")
        writer.commit(None, schema_key=None, seal=lambda: sealed(bad))
        commit(writer, (C1, 1))
    assert ids_by_key(destination) == {A1.key: [0, 1], C1.key: [0]}
    assert [status for _, _, status in entries(destination)] == ["loaded", "quarantined", "loaded"]


def test_a_writer_sees_what_it_wrote(destination: Destination) -> None:
    """After each commit, after a removal, and after a commit that was rolled back."""

    def seen(writer: TableWriter) -> tuple[int, int, int]:
        state = writer.state()
        return state.rows, state.ledger.rows, state.ledger.count(Status.LOADED)

    with write(destination) as writer:
        assert seen(writer) == (0, 0, 0)
        commit(writer, (A1, 2))
        assert seen(writer) == (2, 2, 1)
        commit(writer, (B1, 3))
        assert seen(writer) == (5, 5, 2)
        with pytest.raises(BROKEN):
            writer.commit(stream(batch(C1.key, 4), break_at=1), schema_key=C1.key, seal=sealed)
        assert seen(writer) == (5, 5, 2)
        writer.remove([A1.key], seal=sealed)
        assert seen(writer) == (3, 3, 1)


def test_checkpoints_stand_when_a_later_one_breaks(destination: Destination) -> None:
    """A backfill resumes where it was: what is committed is there, and in the ledger."""

    def backfill() -> None:
        with write(destination) as writer:
            commit(writer, (A1, 2))
            commit(writer, (B1, 3))
            raise BrokenOffError

    with pytest.raises(BrokenOffError):
        backfill()
    assert ids_by_key(destination) == {A1.key: [0, 1], B1.key: [0, 1, 2]}
    assert entries(destination) == [(A1.key, "v1", "loaded"), (B1.key, "v1", "loaded")]


def test_ledger_and_rows_agree(destination: Destination) -> None:
    """After any mixture, the ledger's rows of each loaded key are the table's."""
    load(destination, (A1, 3), (B1, 2))
    load(destination, (A2, 4), (C1, 0))
    with write(destination) as writer:
        writer.remove([B1.key], seal=sealed)
    ledger = destination.state(OWNER).ledger.frame
    held_rows = {e["key"]: e["rows"] for e in ledger.to_dicts() if e["status"] == "loaded"}
    counted = {key: len(ids) for key, ids in ids_by_key(destination).items()}
    assert held_rows == {A1.key: 4, C1.key: 0}
    assert counted == {key: count for key, count in held_rows.items() if count}


def test_an_audit_counts_the_rows_of_each_object(destination: Destination) -> None:
    """By key, beside the ledger of the same moment; an object without rows has no count."""
    assert destination.audit(OWNER).rows_by_key.is_empty()
    load(destination, (A1, 3), (B1, 0), (C1, 2))
    audit = destination.audit(OWNER)
    assert dict(audit.rows_by_key.rows()) == {A1.key: 3, C1.key: 2}
    assert audit.state.rows == 5
    assert audit.state.ledger.reconcile(audit.rows_by_key).is_empty()


def test_an_audit_finds_what_the_ledger_does_not_account_for(place: Place) -> None:
    """Rows that were deleted behind the destination's back."""
    destination = place.open()
    load(destination, (A1, 3), (B1, 2))
    place.delete_rows(OWNER.table, B1.key)
    audit = destination.audit(OWNER)
    assert audit.state.ledger.reconcile(audit.rows_by_key).rows() == [(B1.key, 2, 0)]


# Refresh


def test_a_refresh_replaces_the_whole_table(destination: Destination) -> None:
    """Rows, schema and ledger start anew; another schema is welcome."""
    load(destination, (A1, 3), (B1, 2))
    new = pa.record_batch({"other": [1.5], "_s3_key": [C1.key]})
    with write(destination, refresh=True) as writer:
        assert writer.state().rows == 0
        assert writer.state().ledger.frame.is_empty()
        writer.commit(stream(new), schema_key=C1.key, seal=lambda: sealed(loaded(C1, 1)))
    state = destination.state(OWNER)
    assert (state.schema, state.schema_key, state.rows) == (new.schema, C1.key, 1)
    assert entries(destination) == [(C1.key, "v1", "loaded")]
    assert rows(destination) == [{"other": 1.5, "_s3_key": C1.key}]


@pytest.mark.parametrize("break_at", range(3))
def test_a_refresh_that_breaks_leaves_the_old_table(
    destination: Destination, break_at: int
) -> None:
    """In the first checkpoint, in the second or after both: rows and ledger are the old ones."""
    load(destination, (A1, 3), (B1, 2))

    def refresh() -> None:
        with write(destination, refresh=True) as writer:
            for number, found in enumerate((A1, C1)):
                broken = stream(batch(found.key, 1, 90), break_at=1 if number == break_at else None)
                writer.commit(
                    broken, schema_key=found.key, seal=lambda f=found: sealed(loaded(f, 1))
                )
            raise BrokenOffError

    with pytest.raises(BROKEN):
        refresh()
    assert ids_by_key(destination) == {A1.key: [0, 1, 2], B1.key: [0, 1]}
    assert entries(destination) == [(A1.key, "v1", "loaded"), (B1.key, "v1", "loaded")]


@pytest.mark.parametrize("refresh", [False, True], ids=["load", "refresh"])
def test_one_writer_commits_the_same_key_twice(destination: Destination, *, refresh: bool) -> None:
    """Checkpoints of one context replace each other's rows as those of two loads do."""
    load(destination, (A1, 4))
    with write(destination, refresh=refresh) as writer:
        commit(writer, (A2, 3))
        commit(writer, (A3, 2), start=10)
        assert writer.state().rows == 2
    assert ids_by_key(destination) == {A1.key: [10, 11]}
    assert entries(destination) == [(A1.key, "v3", "loaded")]


@pytest.mark.parametrize("broken", [False, True], ids=["to the end", "broken off"])
def test_a_reader_sees_the_old_table_or_the_new(place: Place, *, broken: bool) -> None:
    """Who reads while a table is refreshed sees one of the two, never a mixture."""
    load(place.open(), (A1, 3))
    seen: list[dict[str, list[int]]] = []
    about_to_read = threading.Event()

    def look() -> None:
        about_to_read.set()
        seen.append(ids_by_key(place.open()))

    reading = threading.Thread(target=look)

    def refresh() -> None:
        with write(place.open(), refresh=True) as writer:
            commit(writer, (B1, 2))
            reading.start()
            assert about_to_read.wait(20)
            commit(writer, (C1, 1))
            if broken:
                raise BrokenOffError

    if broken:
        with pytest.raises(BrokenOffError):
            refresh()
    else:
        refresh()
    reading.join(20)
    old, new = {A1.key: [0, 1, 2]}, {B1.key: [0, 1], C1.key: [0]}
    assert seen in ([[old]] if broken else [[old], [new]])
    assert ids_by_key(place.open()) == (old if broken else new)


def test_two_writers_of_one_process_take_turns(place: Place) -> None:
    """The second waits for the first, and then sees what the first committed.

    Where nobody waits, whoever commits second fails, is told why, and nothing of it is there; run
    again, it finds what the first committed.
    """
    seen: list[int] = []
    failed: list[DestinationError] = []
    about_to_write = threading.Event()

    def second() -> None:
        about_to_write.set()
        try:
            with write(place.open()) as writer:
                seen.append(writer.state().rows)
                commit(writer, (B1, 2))
        except DestinationError as error:
            failed.append(error)

    writing = threading.Thread(target=second)
    with write(place.open()) as writer:
        writing.start()
        assert about_to_write.wait(20)
        if not place.takes_turns:
            writing.join(20)
        try:
            commit(writer, (A1, 3))
        except DestinationError as error:
            failed.append(error)
    writing.join(20)
    if place.takes_turns:
        assert (seen, failed) == ([3], [])
    else:
        (lost,) = failed
        assert "another run" in str(lost)
        assert lost.retryable
        assert ids_by_key(place.open()) == {B1.key: [0, 1]}
        load(place.open(), (A1, 3))
    assert ids_by_key(place.open()) == {A1.key: [0, 1, 2], B1.key: [0, 1]}


def test_two_tables_are_written_at_once(place: Place) -> None:
    """Also where neither ledger nor anything else is there yet."""
    owners = [Owner(name, "lake", f"{name}/") for name in ("orders", "returns", "invoices")]
    together = threading.Barrier(len(owners))

    def fill(owner: Owner) -> None:
        together.wait(20)
        for number in range(3):
            load(place.open(lock_timeout_seconds=60), (meta(f"k{number}"), 2), owner=owner)

    with ThreadPoolExecutor(len(owners)) as pool:
        list(pool.map(fill, owners))
    for owner in owners:
        assert ids_by_key(place.open(), owner.table) == {f"k{n}": [0, 1] for n in range(3)}
        assert place.open().state(owner).ledger.rows == 6


def test_two_processes_load_each_object_once(place: Place) -> None:
    """Both want all of them, at the same time; who comes second loads what is left."""
    objects = [meta(f"orders/{number}", second=number) for number in range(6)]
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=fill_from, args=(place, objects)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert ids_by_key(place.open()) == {found.key: [0, 1, 2] for found in objects}


def fill_from(place: Place, objects: list[ObjectMeta]) -> None:
    """Load what is pending, an object a checkpoint; again if another process was quicker."""

    def once() -> None:
        with write(place.open(lock_timeout_seconds=60)) as writer:
            known = writer.state().ledger
            for found in objects:
                if not known.holds(found):
                    commit(writer, (found, 3))

    Retrying(
        retry=retry_if_exception_type(DestinationError),
        stop=stop_after_attempt(20),
        wait=wait_random(0, 0.5),
        reraise=True,
    )(once)


# Whose it is


@pytest.mark.parametrize(
    "other", [Owner("orders", "lake2", "orders/"), Owner("orders", "lake", "orders-v2/")], ids=str
)
def test_a_table_belongs_to_one_bucket_and_prefix(destination: Destination, other: Owner) -> None:
    """Another owner is refused, reading and writing; the error names both; nothing changes."""
    load(destination, (A1, 3))
    for refresh in (False, True):
        with (
            pytest.raises(TableOwnedElsewhereError, match=r"s3://lake/orders/,.*") as caught,
            destination.write(other, run_id="r", append=False, refresh=refresh) as writer,
        ):
            commit(writer, (B1, 1))
        assert f"s3://{other.bucket}/{other.prefix}" in str(caught.value)
    with pytest.raises(TableOwnedElsewhereError):
        destination.state(other)
    assert ids_by_key(destination) == {A1.key: [0, 1, 2]}


@pytest.mark.parametrize("whole", [True, False])
def test_a_table_without_its_ledger_is_refused(place: Place, *, whole: bool) -> None:
    """Loading again would double the rows, so that a dropped ledger is an error."""
    load(place.open(), (A1, 3))
    place.drop_ledger(whole=whole)
    with pytest.raises(TableNotManagedError, match="orders"):
        place.open().state(OWNER)
    with pytest.raises(TableNotManagedError):
        load(place.open(), (A1, 3))


def test_a_ledger_without_its_table_is_refused(place: Place) -> None:
    """Nothing would be loaded again, so that a dropped table is an error."""
    load(place.open(), (A1, 3))
    place.drop_table("orders")
    with pytest.raises(TableNotManagedError, match="orders"):
        place.open().state(OWNER)
    with pytest.raises(TableNotManagedError):
        load(place.open(), (B1, 3))


def test_a_newer_ledger_is_refused(place: Place) -> None:
    """What a newer release wrote is neither read nor written."""
    load(place.open(), (A1, 3))
    place.set_format_version(FORMAT_VERSION + 1)
    with pytest.raises(LedgerVersionError, match=f"version {FORMAT_VERSION + 1}.*Upgrade"):
        place.open().state(OWNER)
    with pytest.raises(LedgerVersionError):
        load(place.open(), (B1, 3))


# The lock


TAKES_TURNS = each_of(kind for kind, made in ALL_PLACES.items() if made.takes_turns)


@pytest.mark.parametrize("place", TAKES_TURNS, indirect=True)
def test_a_lock_that_stays_is_an_error_after_the_timeout(place: Place) -> None:
    """Another process has it: every wait is logged, then the error says who to wait for."""
    load(place.open(), (A1, 1))
    lines = Lines()
    waiting = place.open(log=logger(lines), lock_timeout_seconds=0.5)
    with held(place, OWNER.table):
        asks: list[Callable[[], Any]] = [lambda: load(waiting, (B1, 1))]
        if place.readers_wait:
            asks.append(lambda: waiting.state(OWNER))
        for ask in asks:
            with pytest.raises(DestinationLockedError, match="another process") as caught:
                ask()
            assert caught.value.retryable
    assert lines.of("destination_locked")
    assert ids_by_key(place.open()) == {A1.key: [0]}


def test_a_writer_keeps_readers_out_only_where_that_is_said(place: Place) -> None:
    """Elsewhere looking, counting and reading go on while another process writes."""
    load(place.open(), (A1, 2))
    if place.readers_wait or not place.takes_turns:
        return
    with held(place, OWNER.table):
        assert place.open().state(OWNER).rows == 2
        assert place.open().audit(OWNER).rows_by_key.rows() == [(A1.key, 2)]
        assert ids_by_key(place.open()) == {A1.key: [0, 1]}


@pytest.mark.parametrize("place", TAKES_TURNS, indirect=True)
def test_a_lock_that_is_released_is_waited_for(place: Place) -> None:
    """The writer goes on once the other process lets go."""
    load(place.open(), (A1, 1))
    with held(place, OWNER.table) as let_go:
        lines = LetGo(let_go)
        load(place.open(log=logger(lines), lock_timeout_seconds=60), (B1, 1))
        assert lines.of("destination_locked")
    assert ids_by_key(place.open()) == {A1.key: [0], B1.key: [0]}


class LetGo(Lines):
    """Lets go of a lock once somebody says that he waits."""

    def __init__(self, let_go: Callable[[], None]) -> None:
        super().__init__()
        self._let_go = let_go

    def emit(self, record: Any) -> None:
        super().emit(record)
        self._let_go()


# Reading


@ONE_OF_EACH_KIND
@pytest.mark.parametrize(
    "columns", [["id"], ["text", "id"], ["_s3_key", "text", "id"]], ids="-".join
)
def test_chosen_columns_come_in_the_order_asked_for(
    destination: Destination, columns: list[str]
) -> None:
    """Only the chosen columns are read."""
    load(destination, (A1, 2))
    with destination.read("orders", columns) as reader:
        table = reader.read_all()
    assert table.schema.names == columns
    assert table.num_rows == 2


@ONE_OF_EACH_KIND
@pytest.mark.parametrize("column", ["nope", "orders", "rowid", "", "a\x00b", 'id" FROM orders --'])
def test_only_columns_can_be_chosen(destination: Destination, column: str) -> None:
    """Nothing else that a destination has names for; the error says which columns there are."""
    load(destination, (A1, 2))
    with (
        pytest.raises(DestinationError, match=r"'orders' has no column .*'id', 'text', '_s3_key'"),
        destination.read("orders", ["id", column]) as reader,
    ):
        reader.read_all()


def test_what_is_not_there_cannot_be_read(destination: Destination) -> None:
    """A missing destination, table or column is an error of the destination."""
    for table, columns in (("orders", None), ("nothing", None), ("orders", ["nope"])):
        with (
            pytest.raises(DestinationError, match=f"{table}|nope"),
            destination.read(table, columns) as reader,
        ):
            reader.read_all()
        load(destination, (meta(f"orders/{columns}{table}"), 1))


def test_a_reader_may_be_drained_in_another_thread(place: Place) -> None:
    """Engines pull a stream from threads of their own, and may end it there; others go on."""
    load(place.open(), (A1, 3))
    context = place.open().read("orders", None)
    reader = context.__enter__()
    counted: list[int] = []
    failed: list[Exception] = []

    def drain() -> None:
        try:
            counted.append(reader.read_all().num_rows)
            context.__exit__(None, None, None)
        except Exception as error:  # noqa: BLE001 - told to the test
            failed.append(error)

    thread = threading.Thread(target=drain)
    thread.start()
    thread.join(20)
    assert (counted, failed) == ([3], [])
    load(place.open(), (B1, 1))
    assert place.open().state(OWNER).rows == 4


# Types and names


@ONE_OF_EACH_KIND
@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
def test_a_column_comes_back_as_it_was_or_is_refused(
    destination: Destination, column: pa.Array
) -> None:
    """Type and values are those of the file, at the ends of their range too, or nothing is there.

    ``docs/types.md`` says which of the two it is, and of each a test holds it against the document.
    """
    try:
        write_column(destination, column)
    except UnsupportedSchemaError as refused:
        said = str(refused)
    else:
        with destination.read("orders", ["c"]) as reader:
            found = reader.read_all().column("c").combine_chunks()
        assert found.type == column.type
        assert found.equals(column) or repr(found.to_pylist()) == repr(column.to_pylist())
        assert destination.state(OWNER).schema == pa.schema([("c", column.type), SCHEMA.field(2)])
        return
    assert "'c'" in said
    assert "skip_tables" in said
    assert not destination.state(OWNER).exists
    assert entries(destination) == []


@ONE_OF_EACH_KIND
def test_every_unsupported_column_is_named(destination: Destination) -> None:
    """One error tells about all columns, and the stream is not drained for it."""
    schema = pa.schema([("a", REFUSED), ("b", REFUSED), ("_s3_key", pa.string())])
    drained: list[int] = []

    def generate() -> Any:
        drained.append(1)
        yield pa.RecordBatch.from_pylist([], schema)

    reader = pa.RecordBatchReader.from_batches(schema, generate())
    with (
        pytest.raises(UnsupportedSchemaError, match=r"'a'.*'b'"),
        write(destination) as writer,
    ):
        writer.commit(reader, schema_key="k", seal=sealed)
    assert not drained


@ONE_OF_EACH_KIND
@pytest.mark.parametrize("name", ["", "a\x00b"])
def test_a_name_that_cannot_be_held_is_refused(destination: Destination, name: str) -> None:
    """An empty name or one with NUL would be stored as another."""
    with pytest.raises(UnsupportedSchemaError):
        write_column(destination, pa.array([1]), name)
    assert not destination.state(OWNER).exists


@ONE_OF_EACH_KIND
def test_names_that_differ_only_by_case_are_refused(destination: Destination) -> None:
    """Destinations fold case; the error names both columns."""
    each = pa.record_batch({"Id": [1], "ID": [2], "_s3_key": ["k"]})
    with (
        pytest.raises(UnsupportedSchemaError, match=r"'Id' and 'ID'"),
        write(destination) as writer,
    ):
        writer.commit(stream(each), schema_key="k", seal=sealed)


def put_twins(
    destination: Destination, one: str, other: str, found: ObjectMeta, value: int
) -> None:
    """Load one object with two columns and one row."""
    each = pa.record_batch({one: [value], other: [value + 1], "_s3_key": [found.key]})
    with write(destination) as writer:
        writer.commit(stream(each), schema_key=found.key, seal=lambda: sealed(loaded(found, 1)))


@ONE_OF_EACH_KIND
@pytest.mark.parametrize(
    "twins",
    [("k", "\u212a"), ("\u00e4", "\u00c4"), ("\u00e9", "e\u0301"), ("a", "a "), ("a", "a_1")],
    ids=ascii,
)
def test_names_that_only_look_alike_are_two_columns(
    destination: Destination, twins: tuple[str, str]
) -> None:
    """No form of Unicode is made another; who folds more letters than ASCII's refuses the two."""
    one, other = twins
    try:
        put_twins(destination, one, other, A1, 1)
    except UnsupportedSchemaError as refused:
        said = str(refused)
    else:
        put_twins(destination, one, other, A2, 3)
        put_twins(destination, one, other, B1, 5)
        assert [(row[one], row[other]) for row in rows(destination)] == [(3, 4), (5, 6)]
        return
    assert one.lower() == other.lower()
    assert f"{one!r} and {other!r}" in said
    assert not destination.state(OWNER).exists


@ONE_OF_EACH_KIND
@pytest.mark.parametrize(
    "name",
    ["select", "ID", "a b", 'a"b', "a'b", "a;--b", "ü", "\U0001f600", "a.b", "%", "rowid", "RowId"],
)
@pytest.mark.parametrize("append", [False, True], ids=["replace", "append"])
def test_any_name_is_a_column_like_any_other(
    destination: Destination, name: str, *, append: bool
) -> None:
    """Its values come back under it, and replacing an object replaces its rows alone."""

    def put(found: Any, values: list[int]) -> None:
        each = pa.record_batch({name: values, "_s3_key": [found.key] * len(values)})
        with write(destination, append=append) as writer:
            writer.commit(
                stream(each), schema_key=found.key, seal=lambda: sealed(loaded(found, len(values)))
            )

    put(A1, [100, 3])
    put(B1, [5])
    put(A2, [7, 200])
    old = [3, 100] if append else []
    found = [(row["_s3_key"], row[name]) for row in rows(destination, "orders", ["_s3_key", name])]
    assert sorted(found) == sorted([*((A1.key, value) for value in [*old, 7, 200]), (B1.key, 5)])
