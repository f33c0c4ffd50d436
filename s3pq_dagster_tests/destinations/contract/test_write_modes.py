"""Which rows a new version, a removed object and a repeated key leave in each write mode."""

from typing import Any

import pytest

from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster.errors import DestinationError
from s3pq_dagster_tests.destinations.contract.objects import A1, A2, A3, B1, C1
from s3pq_dagster_tests.destinations.tables import (
    OWNER,
    commit,
    entries,
    ids_by_key,
    load,
    sealed,
    write,
)
from s3pq_dagster_tests.unit.made import meta


@pytest.mark.parametrize(
    ("append", "ids", "e_tags"),
    [(False, [10, 11], ["v2"]), (True, [0, 1, 2, 10, 11], ["v1", "v2"])],
    ids=["replace", "append"],
)
def test_an_overwritten_object(
    destination: Destination, ids: list[int], e_tags: list[str], *, append: bool
) -> None:
    """Its rows are replaced by those of its current version; in append they are added."""
    load(destination, (A1, 3), (B1, 1), append=append)
    load(destination, (A2, 2), append=append, start=10)
    assert ids_by_key(destination) == {A1.key: ids, B1.key: [0]}
    assert [e_tag for key, e_tag, _ in entries(destination) if key == A1.key] == e_tags


@pytest.mark.parametrize("append", [False, True], ids=["replace", "append"])
def test_the_same_e_tag_with_another_size_replaces(
    destination: Destination, *, append: bool
) -> None:
    """Its rows come once in every write mode: in append their ids would be there twice."""
    load(destination, (A1, 3), (B1, 1), append=append)
    load(destination, (A2, 1), append=append, start=5)
    resized = meta(B1.key, "v1", size=99)
    load(destination, (resized, 2), append=append, start=10)
    others = [0, 1, 2, 5] if append else [5]
    assert ids_by_key(destination) == {A1.key: others, B1.key: [10, 11]}
    frame = destination.state(OWNER).ledger.frame
    assert frame.filter(key=B1.key).select("e_tag", "size").rows() == [("v1", 99)]
    assert destination.state(OWNER).rows == len(others) + 2


@pytest.mark.parametrize("append", [False, True], ids=["replace", "append"])
def test_an_object_is_not_loaded_twice(destination: Destination, *, append: bool) -> None:
    """The same e_tag with the same size is what another run loaded meanwhile."""
    load(destination, (A1, 3), append=append)
    with pytest.raises(DestinationError, match="loaded by another run"):
        load(destination, (A1, 3), append=append, start=10)
    assert ids_by_key(destination) == {A1.key: [0, 1, 2]}


def test_a_version_that_comes_back_replaces_again(destination: Destination) -> None:
    """Loading v1, v2 and v1 again leaves v1's rows once."""
    load(destination, (A1, 3))
    load(destination, (A2, 2), start=10)
    load(destination, (A1, 3), start=20)
    assert ids_by_key(destination) == {A1.key: [20, 21, 22]}
    assert entries(destination) == [(A1.key, "v1", "loaded")]


def test_an_object_overwritten_by_an_empty_one_has_no_rows(destination: Destination) -> None:
    """An empty version removes the rows of the version before."""
    load(destination, (A1, 3), (B1, 1))
    load(destination, (A2, 0))
    assert ids_by_key(destination) == {B1.key: [0]}


def test_without_e_tags_an_overwritten_object_is_replaced(destination: Destination) -> None:
    """The key decides whose rows are replaced, not the e_tag."""
    load(destination, (meta("orders/a", None), 3))
    load(destination, (meta("orders/a", None, second=9), 2), start=10)
    assert ids_by_key(destination) == {A1.key: [10, 11]}
    assert entries(destination) == [(A1.key, None, "loaded")]


def test_removing_deletes_rows_and_marks_entries(destination: Destination) -> None:
    """Removing deletes the keys' rows, returns how many, and keeps entries marked removed."""
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
    """An object that is deleted and put again is loaded again and has one entry."""
    load(destination, (A1, 3))
    with write(destination) as writer:
        writer.remove([A1.key], seal=sealed)
    load(destination, (again, 2), start=10)
    assert ids_by_key(destination) == {A1.key: [10, 11]}
    assert entries(destination) == [(A1.key, again.e_tag, "loaded")]


@pytest.mark.parametrize("refresh", [False, True], ids=["load", "refresh"])
def test_one_writer_commits_the_same_key_twice(destination: Destination, *, refresh: bool) -> None:
    """A later checkpoint of one writer replaces the key's rows as a second load would."""
    load(destination, (A1, 4))
    with write(destination, refresh=refresh) as writer:
        commit(writer, (A2, 3))
        commit(writer, (A3, 2), start=10)
        assert writer.state().rows == 2
    assert ids_by_key(destination) == {A1.key: [10, 11]}
    assert entries(destination) == [(A1.key, "v3", "loaded")]
