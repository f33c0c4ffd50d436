"""Reading a table back as an Arrow stream."""

import threading
from collections.abc import Sequence

import pytest

from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster.errors import (
    DestinationError,
)
from s3pq_dagster_tests.destinations.contract.objects import A1, B1, C1
from s3pq_dagster_tests.destinations.contract.parameters import ONE_OF_EACH_KIND
from s3pq_dagster_tests.destinations.places import Place
from s3pq_dagster_tests.destinations.tables import (
    OWNER,
    load,
)
from s3pq_dagster_tests.unit.made import meta


@ONE_OF_EACH_KIND
@pytest.mark.parametrize(
    "columns", [["id"], ["text", "id"], ["_s3_key", "text", "id"]], ids="-".join
)
def test_chosen_columns_come_in_the_order_asked_for(
    destination: Destination, columns: list[str]
) -> None:
    """Only the chosen columns are returned, in the order asked for."""
    load(destination, (A1, 2))
    with destination.read("orders", columns) as reader:
        table = reader.read_all()
    assert table.schema.names == columns
    assert table.num_rows == 2


@pytest.mark.first_case
@ONE_OF_EACH_KIND
@pytest.mark.parametrize("column", ["nope", "orders", "rowid", "", "a\x00b", 'id" FROM orders --'])
def test_only_columns_can_be_chosen(destination: Destination, column: str) -> None:
    """Other names a destination knows are refused, and the error lists the table's columns."""
    load(destination, (A1, 2))
    with (
        pytest.raises(DestinationError, match=r"'orders' has no column .*'id', 'text', '_s3_key'"),
        destination.read("orders", ["id", column]) as reader,
    ):
        reader.read_all()


def test_what_is_not_there_cannot_be_read(destination: Destination) -> None:
    """A missing destination, table or column is a `DestinationError`."""
    for table, columns in (("orders", None), ("nothing", None), ("orders", ["nope"])):
        with (
            pytest.raises(DestinationError, match=f"{table}|nope"),
            destination.read(table, columns) as reader,
        ):
            reader.read_all()
        load(destination, (meta(f"orders/{columns}{table}"), 1))


def test_a_reader_may_be_drained_in_another_thread(place: Place) -> None:
    """Query engines read and close a stream in threads of their own; writing works afterwards."""
    load(place.open(), (A1, 3))
    context = place.open().read("orders", None)
    reader = context.__enter__()
    counted: list[int] = []
    failed: list[Exception] = []

    def drain() -> None:
        try:
            counted.append(reader.read_all().num_rows)
            context.__exit__(None, None, None)
        except Exception as error:  # noqa: BLE001 - reported to the test
            failed.append(error)

    thread = threading.Thread(target=drain)
    thread.start()
    thread.join(20)
    assert (counted, failed) == ([3], [])
    load(place.open(), (B1, 1))
    assert place.open().state(OWNER).rows == 4


def test_the_rows_of_some_objects_alone_are_read(destination: Destination) -> None:
    """The destination asks which of its keys are wanted, and reads no checkpoint without them."""
    for each in (A1, B1, C1):
        load(destination, (each, 3))
    asked: set[str] = set()

    def wanted(keys: Sequence[str]) -> list[str]:
        asked.update(keys)
        return [key for key in keys if key == B1.key]

    for columns in (None, ["id", "_s3_key"]):
        with destination.read("orders", columns, wanted) as reader:
            table = reader.read_all()
        assert table.column("_s3_key").to_pylist() == [B1.key] * 3
        assert columns is None or table.schema.names == columns
    assert asked == {A1.key, B1.key, C1.key}
    with destination.read("orders", ["id"], lambda _: []) as reader:
        assert reader.read_all().num_rows == 0
