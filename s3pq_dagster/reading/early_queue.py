"""A queue of fetched objects that one thread decodes early, before they are needed."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Condition

from s3pq_dagster.reading.object_bytes import DecodedObject, ObjectBytes

DecodeEarly = Callable[[ObjectBytes, Callable[[], bool]], DecodedObject | None]
"""Decode an object if that takes little memory and time. The second argument tells whether anybody
still wants the rows, and is asked now and then. ``None`` says nothing about the object. Raises
nothing."""

_LEAST_COST = 64 * 1024
"""Bytes that the smallest decoded object counts as."""
_WAIT_SECONDS = 1


class EarlyQueue:
    """Decode fetched objects one at a time in a thread of its own.

    Nobody waits for an object that is still queued: whoever needs it decodes it itself. The thread
    ends when there is nothing to do or no room; a waiting thread would keep the process alive.
    """

    def __init__(self, decode_early: DecodeEarly, max_bytes: int) -> None:
        """Start no thread yet.

        Args:
            decode_early: Decodes one object.
            max_bytes: No further object is decoded while decoded ones hold so many bytes.
        """
        self._decode_early = decode_early
        self._max_bytes = max_bytes
        self._changed = Condition()
        self._queued: dict[ObjectBytes, None] = {}  # a set in order
        self._current: ObjectBytes | None = None
        self._is_running = False
        self._is_closed = False
        self._costs: dict[ObjectBytes, int] = {}
        self._held = 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="s3pq-decode")

    def add(self, fetched: ObjectBytes) -> None:
        """Queue an object; it is decoded once there is room."""
        with self._changed:
            if not self._is_closed:
                self._queued[fetched] = None
                self._start()

    def settle(self, fetched: ObjectBytes, while_waiting: Callable[[], None]) -> None:
        """Take an object out of the queue, and wait if it is being decoded right now.

        Args:
            fetched: The object; when this returns, no thread works on it.
            while_waiting: Called every second of the wait; may raise, to cancel.
        """
        while not self._is_settled(fetched):
            while_waiting()

    def release(self, fetched: ObjectBytes) -> None:
        """Drop an object's decoded rows and let others be decoded in their place."""
        with self._changed:
            fetched.decoded = None
            self._held -= self._costs.pop(fetched, 0)
            self._start()

    def close(self, *, wait: bool) -> None:
        """Stop, and drop all decoded rows; see :meth:`Fetcher.close`."""
        with self._changed:
            self._is_closed = True
            self._queued.clear()
            for fetched in self._costs:
                fetched.decoded = None
            self._costs.clear()
        self._pool.shutdown(wait=wait, cancel_futures=True)

    def _is_settled(self, fetched: ObjectBytes) -> bool:
        with self._changed:
            self._queued.pop(fetched, None)
            if self._current is fetched:
                self._changed.wait(_WAIT_SECONDS)
            return self._current is not fetched

    def _start(self) -> None:
        if self._queued and self._has_room() and not (self._is_running or self._is_closed):
            self._pool.submit(self._run)
            self._is_running = True

    def _has_room(self) -> bool:
        return self._held < self._max_bytes

    def _run(self) -> None:
        while (fetched := self._next()) is not None:
            decoded: DecodedObject | None = None
            try:
                decoded = self._decode_early(fetched, lambda: not self._is_closed)
            finally:
                self._keep(fetched, decoded)

    def _next(self) -> ObjectBytes | None:
        with self._changed:
            self._current = next(iter(self._queued), None) if self._has_room() else None
            if self._current is not None:
                del self._queued[self._current]
            self._is_running = self._current is not None
            return self._current

    def _keep(self, fetched: ObjectBytes, decoded: DecodedObject | None) -> None:
        with self._changed:
            if decoded is not None and not self._is_closed:
                fetched.decoded = decoded
                self._costs[fetched] = max(decoded.held_bytes, _LEAST_COST)
                self._held += self._costs[fetched]
            self._current = None
            self._changed.notify_all()
