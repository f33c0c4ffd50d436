"""What a storage promises, kept by a directory and by a prefix in S3 alike."""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from s3pq_dagster.destinations.storage.protocol import Storage
from s3pq_dagster.destinations.storage.root import Root
from s3pq_dagster.errors import (
    DestinationDeniedError,
    DestinationError,
    DestinationLockedError,
)
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.servers import ACCESS_KEY, REGION
from s3pq_dagster_tests.unit.made import logger

FILE = "folder/file"
_numbers = itertools.count(1)


class BrokenOffError(Exception):
    """Ends a context that writes a file."""


@pytest.fixture(params=["local", "weed"])
def reopened(request: pytest.FixtureRequest) -> Iterator[Callable[[], Storage]]:
    """Opens one root, a new storage each time; it is closed at the end of the test."""
    if request.param == "local":
        url, endpoint = str(request.getfixturevalue("tmp_path") / "root"), None
    else:
        bucket: Bucket = request.getfixturevalue("weed_bucket")
        url = f"s3://{bucket.name}/root-{next(_numbers)}"
        endpoint = request.getfixturevalue("weed")
    root = Root(
        url,
        endpoint_url=endpoint,
        region=REGION,
        profile=None,
        lock_timeout_seconds=0,
        log=logger(),
    )
    with ExitStack() as opened:
        yield lambda: opened.enter_context(root.open())


@pytest.fixture
def storage(reopened: Callable[[], Storage]) -> Storage:
    """A storage whose root nobody has written to."""
    return reopened()


def content(storage: Storage, path: str = FILE) -> bytes | None:
    """Read a file; ``None`` if it does not exist."""
    found = storage.get(path)
    return None if found is None else found.content


@pytest.mark.first_case
def test_what_does_not_exist_is_nothing(storage: Storage) -> None:
    """It is not read, listed, deleted or flushed, and none of that makes anything."""
    assert storage.get(FILE) is None
    assert storage.stat(FILE) is None
    assert storage.names("folder") == storage.names("folder", recursive=True) == set()
    storage.delete([FILE])
    storage.delete([])
    storage.flush("folder")
    storage.flush_files([FILE])
    storage.check_folder("folder")
    with pytest.raises(FileNotFoundError):
        storage.open(FILE)
    assert not Path(storage.root).exists()


def test_a_file_is_replaced_as_a_whole(storage: Storage) -> None:
    """Its version is another each time, and its size is that of its content."""
    seen = set()
    for data in (b"one", b"other", b""):
        storage.put(FILE, data)
        found, facts = storage.get(FILE), storage.stat(FILE)
        assert found is not None
        assert facts == (len(data), found.version)
        assert found.content == data
        seen.add(found.version)
    assert len(seen) == 3
    assert storage.names("folder") == {"file"}


def test_names_are_those_right_in_a_folder_or_all_below(storage: Storage) -> None:
    """A folder is no name, and one whose name begins alike is another."""
    for path in ("a/x", "a/b/y", "ab/z"):
        storage.put(path, b"1")
    assert storage.names("a") == {"x"}
    assert storage.names("a", recursive=True) == {"x", "b/y"}


def test_a_swap_takes_the_version_that_is_there(storage: Storage) -> None:
    """Of any other, or of none, it changes nothing."""
    first = storage.swap(FILE, b"first", None)
    second = storage.swap(FILE, b"second", first)
    for wrong in (None, first):
        with pytest.raises(DestinationError, match=r"file was changed by .*nothing of this"):
            storage.swap(FILE, b"third", wrong)
    with pytest.raises(DestinationError, match="was changed by"):
        storage.swap("folder/none", b"third", second)
    assert storage.get(FILE) == (b"second", second)
    assert storage.names("folder") == {"file"}


@pytest.mark.first_case
@pytest.mark.parametrize("size", [0, 1000, 9 * 1024 * 1024])
def test_a_new_file_is_there_once_its_context_ends(storage: Storage, size: int) -> None:
    """Whether it goes in one request or in parts; ``tell`` gives what is written so far."""
    data = os.urandom(size)
    with storage.create(FILE) as sink:
        sink.write(data)
        assert sink.tell() == size
    storage.flush("folder")
    storage.flush_files([FILE])
    assert content(storage) == data


def test_a_new_file_whose_context_breaks_leaves_nothing(storage: Storage) -> None:
    """However much of it is written."""

    def write() -> None:
        with storage.create(FILE) as sink:
            sink.write(b"half")
            raise BrokenOffError

    with pytest.raises(BrokenOffError):
        write()
    assert storage.stat(FILE) is None


def test_a_file_is_read_in_any_order(storage: Storage) -> None:
    """From its start, from its end and in between, beyond what a first request gets."""
    data = os.urandom(300_000)
    storage.put(FILE, data)
    with storage.open(FILE) as file:
        assert file.size() == len(data)
        for start, size in ((0, 10), (299_990, 10), (100_000, 150_000), (299_990, 100)):
            file.seek(start)
            assert file.read(size) == data[start : start + size]


def test_files_move_as_often_as_wanted(storage: Storage) -> None:
    """What is at the new path is replaced; what was moved before is passed over."""
    storage.put("staged/1", b"new")
    storage.put("staged/2", b"two")
    storage.put("place/a", b"old")
    moves = {"staged/1": "place/a", "staged/2": "place/b", "staged/3": "place/c"}
    for _ in range(2):
        storage.move(moves)
        assert storage.names("staged") == set()
        assert storage.names("place") == {"a", "b"}
        assert content(storage, "place/a") == b"new"


def test_a_lock_is_held_by_one(reopened: Callable[[], Storage]) -> None:
    """Another, waiting or not, is told who has it; once it is released anybody can have it."""
    one, other = reopened(), reopened()
    for wait in (True, False):
        with one.lock("locks/t.lock") as lock:
            assert not lock.is_taken_over
            lock.check()
            with (
                pytest.raises(DestinationLockedError, match=r"writes this table.*t\.lock"),
                other.lock("locks/t.lock", wait=wait),
            ):
                pass
            with other.lock("locks/u.lock", wait=wait):
                pass
        with other.lock("locks/t.lock", wait=wait):
            pass


def test_a_file_in_place_of_a_folder_is_named(tmp_path: Path) -> None:
    """In S3 there is no such thing."""
    (tmp_path / "file").write_text("mine")
    root = Root(
        str(tmp_path),
        endpoint_url=None,
        region=None,
        profile=None,
        lock_timeout_seconds=0,
        log=logger(),
    )
    with root.open() as storage, pytest.raises(DestinationError, match="file is a file, not a dir"):
        storage.check_folder("file")


def test_options_for_other_libraries_are_complete(
    reopened: Callable[[], Storage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory needs nothing; a bucket needs endpoint, region and credentials as they are."""
    storage = reopened()
    options = storage.object_store_options()
    if storage.is_local:
        assert options is None
        return
    assert options is not None
    assert options["aws_access_key_id"] == ACCESS_KEY
    assert options["aws_region"] == REGION
    assert options["aws_conditional_put"] == "etag"
    assert options["endpoint_url"].startswith("http://127.0.0.1:")
    assert options["allow_http"] == "true"
    assert storage.root.startswith("s3://")
    for variable in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(variable)
    with pytest.raises(DestinationDeniedError, match="no AWS credentials for the destination"):
        reopened().object_store_options()
