"""A full refresh replaces a table in one step."""

import threading

import pyarrow as pa
import pytest

from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster_tests.destinations.contract.objects import A1, B1, C1
from s3pq_dagster_tests.destinations.places import Place
from s3pq_dagster_tests.destinations.tables import (
    BROKEN,
    OWNER,
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
    write,
)


def test_a_refresh_replaces_the_whole_table(destination: Destination) -> None:
    """A refresh replaces rows, schema and ledger; the new schema may differ."""
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
    """Breaking in the first checkpoint, the second or after both keeps the old rows and ledger."""
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


@pytest.mark.parametrize("broken", [False, True], ids=["to the end", "broken off"])
def test_a_reader_sees_the_old_table_or_the_new(place: Place, *, broken: bool) -> None:
    """A reader during a refresh sees the old table or the new one, never a mixture."""
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
