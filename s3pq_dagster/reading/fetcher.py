"""Objects' bytes, ahead of time and within bounds."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from threading import Condition
from types import TracebackType
from typing import Self

from s3pq_dagster.errors import (
    BrokenAnswerError,
    DiskError,
    InternalError,
    MalformedObjectError,
    ObjectChangedError,
    ObjectNotFoundError,
    ReadAbandonedError,
)
from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster.reading.early_queue import DecodeEarly, EarlyQueue
from s3pq_dagster.reading.object_bytes import ObjectBytes
from s3pq_dagster.reading.spool import Spool
from s3pq_dagster.source import e_tags
from s3pq_dagster.source.store import Store
from s3pq_dagster.spec import S3ParquetSpec

_LEAST_COST = 64 * 1024
"""What the smallest read counts against the byte bound: a thread is not free either."""
_MOST_SPOOLED = 2
"""Large objects on disk at a time: one being read, one being fetched."""
_MOST_CHANGES = 3
"""How often an object may be overwritten while it is read before that is an error."""
_CERTAIN = (MalformedObjectError, ObjectChangedError, ObjectNotFoundError)
"""What S3 says of an object, and would say again."""
_WAIT_SECONDS = 5
_DECODED_SHARE = 32
"""No more is opened ahead once that holds this part of ``max_decoded_bytes``: 32 MiB by default."""


@dataclass(frozen=True, slots=True)
class _Part:
    fetched: ObjectBytes
    start: int
    end: int

    @property
    def cost(self) -> int:
        return max(self.end - self.start, _LEAST_COST)


class Fetcher:
    """Fetch objects in parallel, hand them out in order.

    At most ``concurrency`` requests are under way and at most ``max_bytes_in_flight`` bytes are
    held, or one object or range if that alone is more. A small object is held from its request
    until its release; a range of a large one until it is written to the temporary file.

    Objects are admitted in their order, so the one that is waited for is always under way: no
    later object can starve it. A small one that waits for its turn may be opened meanwhile.
    """

    def __init__(
        self,
        store: Store,
        objects: Iterable[ObjectMeta],
        spec: S3ParquetSpec,
        *,
        while_waiting: Callable[[], None] = lambda: None,
        shares: int = 1,
        decode_early: DecodeEarly | None = None,
    ) -> None:
        """Get ready; the first requests start when iterated, or by :meth:`begin`.

        Args:
            store: Where the objects are.
            objects: What to fetch, in this order; taken as it is needed.
            spec: The bounds.
            while_waiting: Called every few seconds while the next object is waited for.
            shares: How many fetchers there are at a time; each has so much less of the bounds.
            decode_early: How to open what waits; not at all by default.
        """
        self._early = EarlyQueue(
            decode_early or (lambda *_: None), spec.max_decoded_bytes // _DECODED_SHARE
        )
        self._store = store
        self._while_waiting = while_waiting
        self._spec = spec
        self._requests = 0
        """Parts that are being fetched."""
        self._is_awaited = False
        """Whether somebody iterates: before, no large object is spooled."""
        self._waiting = iter(objects)
        self._parts: deque[_Part] = deque()
        self._admitted: deque[ObjectBytes] = deque()
        self._changed = Condition()
        self._held = 0
        self._spooled = 0
        self._closed = False
        self._exhausted = False
        most = max(1, spec.max_bytes_in_flight // _LEAST_COST)
        self._workers = min(spec.concurrency, most) if spec.concurrency > 0 else most
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="s3pq-read")
        self._share(shares)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(wait=kind is None)

    def close(self, *, wait: bool = True) -> None:
        """Stop: requests not begun are dropped, files go.

        Args:
            wait: Whether to wait for requests under way. A run that was cancelled does not: they
                may be stalled, and what they bring is thrown away.
        """
        with self._changed:
            self._closed = True
            self._parts.clear()
            self._changed.notify_all()
        self._early.close(wait=wait)
        self._pool.shutdown(wait=wait, cancel_futures=True)
        for fetched in self._admitted:
            fetched.free()
        self._admitted.clear()

    @property
    def is_closed(self) -> bool:
        """Whether nobody wants more."""
        return self._closed

    def _share(self, shares: int) -> None:
        self._max_bytes = max(1, self._spec.max_bytes_in_flight // shares)
        self._most_requests = max(1, self._workers // shares)

    def stop_sharing(self) -> None:
        """Use the bounds alone from now on."""
        with self._changed:
            self._share(1)
            self._admit()

    def _is_tried_again(self, head: ObjectBytes) -> bool:
        """Fetch an object again where what went wrong may go right, and tell whether it may."""
        if head.is_early and not isinstance(head.error, _CERTAIN):
            self._anew(head)
        elif isinstance(head.error, ObjectChangedError) and head.changes < _MOST_CHANGES:
            self._again(head)
        elif isinstance(head.error, BrokenAnswerError) and (
            0 < len(head.unmatched) < e_tags.MOST_READS
        ):
            self._once_more(head)
        else:
            return False
        return True

    def begin(self) -> None:
        """Fetch ahead what fits the bounds, small objects only, before anybody iterates."""
        with self._changed:
            self._admit()

    def attend(self, while_waiting: Callable[[], None]) -> None:
        """Call this while the next object is waited for."""
        self._while_waiting = while_waiting

    def __iter__(self) -> Iterator[ObjectBytes]:
        """Yield each object once its bytes, or its error, are there; release it when done.

        Raises:
            ReadAbandonedError: Closed by another thread meanwhile.
        """
        self._is_awaited = True
        while True:
            with self._changed:
                if self._closed:
                    raise ReadAbandonedError
                self._admit()
                if not self._admitted:
                    return
                head = self._admitted[0]
                if head.parts_left and not self._closed:
                    self._changed.wait(_WAIT_SECONDS)
                if self._closed:
                    raise ReadAbandonedError
            if head.parts_left:
                self._while_waiting()
                continue
            if head.error is not None and self._is_tried_again(head):
                continue
            with self._changed:
                if self._closed:
                    raise ReadAbandonedError
                self._admitted.popleft()
            self._early.settle(head, self._wait_for_opening)
            yield head

    def _wait_for_opening(self) -> None:
        if self._closed:
            raise ReadAbandonedError
        self._while_waiting()

    def comes_the_same(self, fetched: ObjectBytes) -> bool:
        """Read an object once more, in this thread, and tell whether the same bytes came.

        What comes takes the place of what was there. For an object that does not decode and has
        no MD5 to tell its own damage from that of one bad transfer.

        Raises:
            StoreError: It cannot be read now.
            DiskError: The temporary file of a large object failed.
            ReadAbandonedError: Closed by another thread meanwhile.
        """
        if fetched.error is not None or fetched.md5 is not None:
            return True
        before = self._digest(fetched)
        try:
            for part in self._parts_of(fetched):
                if self._closed:
                    raise ReadAbandonedError
                self._read(part)
                self._while_waiting()
        except (ObjectChangedError, ObjectNotFoundError):
            return True  # What was read is all there ever will be of it.
        finally:
            fetched.parts_left = 0
        after = self._digest(fetched)
        if self._closed:  # and then not all of it was read
            raise ReadAbandonedError
        return after == before

    def release(self, fetched: ObjectBytes) -> None:
        """Free an object's bytes and let others be fetched in their place."""
        with self._changed:
            self._free(fetched)
            self._admit()
        self._early.release(fetched)

    def _free(self, fetched: ObjectBytes) -> None:
        self._held -= fetched.held
        fetched.held = 0
        self._spooled -= fetched.spool is not None
        fetched.free()

    def _anew(self, head: ObjectBytes) -> None:
        """Fetch an object once more, as if it had not been."""
        with self._changed:
            self._free(head)
            self._admitted[0] = again = ObjectBytes(head.object)
            self._parts.extendleft(reversed(self._parts_of(again)))

    def _again(self, head: ObjectBytes) -> None:
        """Fetch the object that stands at the key now in place of the overwritten one."""
        with self._changed:
            self._free(head)
        changes = head.changes + 1
        try:
            again = self._begin(self._store.stat(head.object.key))
        except Exception as error:  # noqa: BLE001 - handed on with its object
            again = ObjectBytes(head.object, error=error, parts_left=0)
        again.changes = changes
        with self._changed:
            if self._closed:
                again.free()
                raise ReadAbandonedError
            self._admitted[0] = again
            self._parts.extendleft(reversed(self._parts_of(again)))

    def _once_more(self, head: ObjectBytes) -> None:
        """Fetch all ranges of a large object again, over those that did not match."""
        with self._changed:
            head.error = None
            self._parts.extendleft(reversed(self._parts_of(head)))

    def _admit(self) -> None:
        """Start as many requests as the bounds allow. The caller holds the lock."""
        while (
            not self._closed
            and self._requests < self._most_requests
            and (part := self._next_part()) is not None
        ):
            full = self._held and self._held + part.cost > self._max_bytes
            if full and not self._is_waited_for(part):
                return
            self._parts.popleft()
            self._held += part.cost
            self._requests += 1
            part.fetched.in_flight += 1
            self._pool.submit(self._fetch, part)

    def _is_waited_for(self, part: _Part) -> bool:
        """Tell whether everybody waits for this part while others, fetched, fill the bound.

        So it is when the next object was overwritten and has to be fetched once more.
        """
        return part.fetched is self._admitted[0] and not part.fetched.in_flight

    def _next_part(self) -> _Part | None:
        while not self._parts:
            if self._exhausted or self._spooled >= _MOST_SPOOLED:
                return None
            found = next(self._waiting, None)
            if found is None:
                self._exhausted = True
                return None
            if not self._is_awaited and not self._is_small(found):
                self._waiting = chain([found], self._waiting)
                return None
            fetched = self._begin(found)
            self._admitted.append(fetched)
            self._parts.extend(self._parts_of(fetched))
        return self._parts[0]

    def _is_small(self, found: ObjectMeta) -> bool:
        return found.size <= self._spec.max_object_bytes_in_memory

    def _begin(self, found: ObjectMeta) -> ObjectBytes:
        if self._is_small(found):
            return ObjectBytes(found, is_early=not self._is_awaited)
        try:
            spool = Spool(found)
        except DiskError as error:
            return ObjectBytes(found, error=error, parts_left=0)
        with self._changed:
            self._spooled += 1
        return ObjectBytes(found, spool=spool)

    def _parts_of(self, fetched: ObjectBytes) -> list[_Part]:
        if fetched.error is not None:
            return []
        size, step = fetched.object.size, self._spec.max_object_bytes_in_memory
        starts = range(0, size, step) if fetched.spool is not None else [0]
        parts = [_Part(fetched, start, min(start + step, size)) for start in starts]
        fetched.parts_left = len(parts) + (fetched.spool is not None)  # and its check
        return parts

    def _fetch(self, part: _Part) -> None:
        fetched = part.fetched
        error: Exception | None = None
        try:
            if fetched.error is None and not self._closed:
                self._read(part)
        except Exception as caught:  # noqa: BLE001 - handed on with its object
            error = caught
        except BaseException as caught:  # noqa: BLE001 - a library's panic; a lost part hangs the run
            error = InternalError(f"reading object {fetched.object.key!r}", repr(caught))
            error.__cause__ = caught
        with self._changed:
            self._requests -= 1
            fetched.error = fetched.error or error
            if fetched.spool is None and fetched.error is None:
                fetched.held = part.cost
            else:
                self._held -= part.cost
            fetched.parts_left -= 1
            fetched.in_flight -= 1
            if fetched.spool is not None and fetched.parts_left == 1 and not self._closed:
                fetched.in_flight += 1
                self._pool.submit(self._check, fetched)
            elif fetched.spool is None and fetched.error is None:
                self._early.add(fetched)
            self._admit()
            self._changed.notify_all()

    def _check(self, fetched: ObjectBytes) -> None:
        """Hold a large object, now that all its ranges are there, against its e_tag."""
        error: Exception | None = None
        try:
            if fetched.error is None and fetched.md5 is not None:
                digest = self._digest(fetched)
                e_tags.check(fetched.object, fetched.md5, digest, fetched.unmatched)
        except Exception as caught:  # noqa: BLE001 - handed on with its object
            error = caught
        with self._changed:
            fetched.error = fetched.error or error
            fetched.parts_left -= 1
            fetched.in_flight -= 1
            self._admit()
            self._changed.notify_all()

    def _read(self, part: _Part) -> None:
        fetched = part.fetched
        if fetched.object.size == 0:
            return
        piece = self._store.read_piece(fetched.object, part.start, part.end)
        fetched.md5 = piece.md5
        if (spool := fetched.spool) is None:
            fetched.data = piece.data
        else:
            spool.write(piece.data, part.start)

    def _digest(self, fetched: ObjectBytes) -> str:
        return e_tags.digest_of(fetched.pieces(lambda: not self._closed))
