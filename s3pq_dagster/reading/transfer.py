"""One object's bytes from the bucket to this machine, and the checks that they are the object's."""

from collections.abc import Callable, Iterator

from s3pq_dagster.errors import ObjectChangedError, ObjectNotFoundError
from s3pq_dagster.reading.object_bytes import ObjectBytes, Part
from s3pq_dagster.source import e_tags
from s3pq_dagster.source.store import Store


def read_part(store: Store, part: Part) -> None:
    """Read one part of an object into its :class:`ObjectBytes`; an empty object needs no request.

    Raises:
        StoreError: As :meth:`Store.read_piece`.
        MalformedObjectError: As :meth:`Store.read_piece`.
        DiskError: The temporary file of a large object cannot be written.
    """
    fetched = part.fetched
    if fetched.object.size == 0:
        return
    piece = store.read_piece(fetched.object, part.start, part.end)
    fetched.md5 = piece.md5
    if fetched.spool is None:
        fetched.data = piece.data
    else:
        fetched.spool.write(piece.data, part.start)


def check_md5(fetched: ObjectBytes, is_wanted: Callable[[], bool]) -> None:
    """Compare a large object, once all its ranges are on disk, with the MD5 in its e_tag.

    Args:
        fetched: The object; nothing is compared if its e_tag is no MD5.
        is_wanted: Asked between pieces; ``False`` ends the reading.

    Raises:
        BrokenAnswerError: It does not match; another read may bring the right bytes.
        MalformedObjectError: It does not match, and the very same bytes came each of
            :data:`~s3pq_dagster.source.e_tags.MOST_READS` times.
        DiskError: The temporary file cannot be read.
    """
    if fetched.md5 is not None:
        digest = e_tags.md5_hex(fetched.pieces(is_wanted))
        e_tags.check(fetched.object, fetched.md5, digest, fetched.unmatched)


def is_same_when_read_again(
    store: Store, fetched: ObjectBytes, part_bytes: int, check_wanted: Callable[[], None]
) -> bool:
    """Read an object once more, in this thread, and return whether the same bytes came.

    This tells a damaged object from a damaged transfer where no MD5 does. The new bytes replace
    the old ones.

    Args:
        store: Where the object is.
        fetched: The object.
        part_bytes: Bytes of one request for a large object.
        check_wanted: Called between requests and between pieces; raises to end the reading.

    Raises:
        StoreError: It cannot be read now.
        DiskError: The temporary file of a large object failed.
    """
    if fetched.error is not None or fetched.md5 is not None:
        return True
    before = _digest(fetched, check_wanted)
    try:
        for part in fetched.parts(part_bytes):
            check_wanted()
            read_part(store, part)
    except (ObjectChangedError, ObjectNotFoundError):
        return True  # these bytes are all there will ever be of this object
    return _digest(fetched, check_wanted) == before


def _digest(fetched: ObjectBytes, check_wanted: Callable[[], None]) -> str:
    def pieces() -> Iterator[bytes]:
        for piece in fetched.pieces(lambda: True):
            check_wanted()
            yield piece

    digest = e_tags.md5_hex(pieces())
    check_wanted()  # a file that was closed meanwhile gave less than all
    return digest
