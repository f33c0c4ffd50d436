"""Objects fetched in parallel, early and within bounds, and handed out in order."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Condition
from types import TracebackType
from typing import Self

from s3pq_dagster.errors import InternalError, ReadAbandonedError
from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster.reading.admission import Admission
from s3pq_dagster.reading.early_queue import DecodeEarly, EarlyQueue
from s3pq_dagster.reading.object_bytes import ObjectBytes, Part
from s3pq_dagster.reading.refetch import Refetch, refetch_cause
from s3pq_dagster.reading.transfer import check_md5, read_part
from s3pq_dagster.source.store import Store
from s3pq_dagster.spec import S3ParquetSpec

_WAIT_SECONDS = 5
_DECODED_SHARE = 32
"""Rows decoded early may take this part of ``max_decoded_bytes``: 32 MiB by default."""


class Fetcher:
    """Fetch objects in parallel, hand them out in order.

    At most ``concurrency`` requests are under way and at most ``max_bytes_in_flight`` bytes are
    held, or one object or range if that alone is more. A small object is held from its request
    until its release; a range of a large one until it is written to the temporary file.
    """

    def __init__(
        self,
        store: Store,
        objects: Iterable[ObjectMeta],
        spec: S3ParquetSpec,
        *,
        shares: int = 1,
        decode_early: DecodeEarly | None = None,
    ) -> None:
        """Send nothing yet; requests start when iterated, or by :meth:`begin`.

        Args:
            store: Where the objects are.
            objects: What to fetch, in this order; consumed as needed.
            spec: The bounds.
            shares: How many fetchers share the bounds; each has an equal part.
            decode_early: Decodes a fetched object that waits; by default none is.
        """
        self.store = store
        self.spec = spec
        self.on_wait: Callable[[], None] = lambda: None
        """Called every few seconds while the next object is waited for."""
        self._admission = Admission(objects, spec, shares)
        self._changed = Condition()
        """Held for every change of the admission and of the objects in it."""
        self._is_closed = False
        self._pool = ThreadPoolExecutor(self._admission.threads, thread_name_prefix="s3pq-read")
        decode = decode_early or (lambda *_: None)
        self._early = EarlyQueue(decode, spec.max_decoded_bytes // _DECODED_SHARE)

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
        """Drop requests not begun, and delete the temporary files.

        Args:
            wait: Whether to wait for requests under way. A cancelled run does not: they may be
                stalled, and their bytes are thrown away.
        """
        with self._changed:
            self._is_closed = True
            self._admission.stop()
            self._changed.notify_all()
        self._early.close(wait=wait)
        self._pool.shutdown(wait=wait, cancel_futures=True)
        for fetched in self._admission.admitted:
            fetched.free()
        self._admission.admitted.clear()

    @property
    def is_closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._is_closed

    def begin(self) -> None:
        """Prefetch small objects, as many as the bounds allow, before anybody iterates."""
        with self._changed:
            self._admit()

    def stop_sharing(self) -> None:
        """Use the whole bounds from now on: no other fetcher uses them any more."""
        with self._changed:
            self._admission.set_shares(1)
            self._admit()

    def __iter__(self) -> Iterator[ObjectBytes]:
        """Yield each object once its bytes, or its error, are there; release it when done.

        Raises:
            ReadAbandonedError: Closed by another thread meanwhile.
        """
        self._admission.takes_large = True
        while (first := self._wait_for_first()) is not None:
            if (cause := refetch_cause(first)) is not None:
                self._refetch(first, cause)
                continue
            with self._changed:
                self._raise_if_closed()
                self._admission.admitted.popleft()
            self._early.settle(first, self._wait)
            yield first

    def release(self, fetched: ObjectBytes) -> None:
        """Free an object's bytes and let others be fetched in their place."""
        with self._changed:
            self._admission.free(fetched)
            self._admit()
        self._early.release(fetched)

    def _raise_if_closed(self) -> None:
        if self._is_closed:
            raise ReadAbandonedError

    def _wait(self) -> None:
        self._raise_if_closed()
        self.on_wait()

    def _wait_for_first(self) -> ObjectBytes | None:
        """Return the first object once nothing of it is under way, or ``None`` at the end."""
        admitted = self._admission.admitted
        while True:
            with self._changed:
                self._raise_if_closed()
                self._admit()
                if not admitted:
                    return None
                if not admitted[0].parts_left:
                    return admitted[0]
                self._changed.wait(_WAIT_SECONDS)
            self._wait()

    def _refetch(self, first: ObjectBytes, cause: Refetch) -> None:
        """Fetch the first object again, before all others."""
        now, error = first.object, None
        if cause is Refetch.CHANGED:
            try:
                now = self.store.stat(first.object.key)
            except Exception as caught:  # noqa: BLE001 - handed on with its object
                error = caught
        with self._changed:
            self._raise_if_closed()
            if cause is Refetch.RANGES:  # into the same temporary file
                first.error, again = None, first
            else:
                self._admission.free(first)
                again = ObjectBytes(now, error) if error else self._admission.prepare(now)
                again.changes = first.changes + (cause is Refetch.CHANGED)
            self._admission.replace_first(again)

    def _admit(self) -> None:
        """Send as many requests as the bounds allow. The caller holds the lock."""
        while not self._is_closed and (part := self._admission.next_part()) is not None:
            self._pool.submit(self._fetch, part)

    def _fetch(self, part: Part) -> None:
        """Fetch parts, one after the other, in a thread of the pool."""
        following: Part | None = part
        while following is not None:
            following = self._fetch_one(following)

    def _fetch_one(self, part: Part) -> Part | None:
        """Fetch one part, and begin the next if there is one and the bounds allow it."""
        fetched = part.fetched
        error = self._error_of(fetched, lambda: read_part(self.store, part))
        with self._changed:
            fetched.error = fetched.error or error
            self._admission.end_part(part)
            if fetched.spool is None and fetched.error is None:
                self._early.add(fetched)
            is_whole = fetched.spool is not None and fetched.parts_left == 1
            # Going on in this thread spares waking another one for each object.
            goes_on = not (is_whole or self._is_closed)
            following = self._admission.next_part() if goes_on else None
            self._admit()
            if self._admission.is_first_here:
                self._changed.notify_all()
        if is_whole:
            self._check(fetched)
        return following

    def _check(self, fetched: ObjectBytes) -> None:
        """Check a large object, now that all its ranges are there."""
        error = self._error_of(fetched, lambda: check_md5(fetched, lambda: not self._is_closed))
        with self._changed:
            fetched.error = fetched.error or error
            fetched.parts_left -= 1
            self._admit()
            if self._admission.is_first_here:
                self._changed.notify_all()

    def _error_of(self, fetched: ObjectBytes, step: Callable[[], None]) -> Exception | None:
        """Run a step unless the object failed already, and return what it raises."""
        if fetched.error is not None or self._is_closed:
            return None
        try:
            step()
        except Exception as error:  # noqa: BLE001 - handed on with its object
            return error
        except BaseException as panic:  # noqa: BLE001 - a library's; lost, it would hang the run
            internal = InternalError(f"reading object {fetched.object.key!r}", repr(panic))
            internal.__cause__ = panic
            return internal
        return None
