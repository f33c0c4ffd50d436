"""Objects opened while they wait for their turn."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Condition

from s3pq_dagster.reading.object_bytes import DecodedObject, ObjectBytes

DecodeEarly = Callable[[ObjectBytes, Callable[[], bool]], DecodedObject | None]
"""Open an object if that takes little, whatever its bytes are; asks now and then whether somebody
still wants it. ``None`` says nothing about the object. Raises nothing."""

_LEAST_COST = 64 * 1024
"""What the smallest object counts against the bound."""
_WAIT_SECONDS = 1


class EarlyQueue:
    """Open fetched objects ahead, one at a time, in a thread of its own.

    Nobody waits for an object that is not begun. The thread never waits for room, or for more to
    do: it would keep the process from ending.
    """

    def __init__(self, decode_early: DecodeEarly, max_bytes: int) -> None:
        """Get ready.

        Args:
            decode_early: How to open.
            max_bytes: Once opened objects hold so much, no more are opened.
        """
        self._decode_early = decode_early
        self._max_bytes = max_bytes
        self._changed = Condition()
        self._waiting: dict[ObjectBytes, None] = {}  # a set in order
        self._current: ObjectBytes | None = None
        self._is_running = False
        self._is_closed = False
        self._costs: dict[ObjectBytes, int] = {}
        self._held = 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="s3pq-open")

    def add(self, fetched: ObjectBytes) -> None:
        """Have an object opened once there is room."""
        with self._changed:
            if not self._is_closed:
                self._waiting[fetched] = None
                self._go_on()

    def settle(self, fetched: ObjectBytes, while_waiting: Callable[[], None]) -> None:
        """See that nobody opens an object from now on.

        Args:
            fetched: It; waited for while it is being opened, in small steps in which a cancel is
                heard.
            while_waiting: Called after each of them; may raise.
        """
        while not self._is_settled(fetched):
            while_waiting()

    def release(self, fetched: ObjectBytes) -> None:
        """Let others be opened in its place."""
        with self._changed:
            fetched.decoded = None
            self._held -= self._costs.pop(fetched, 0)
            self._go_on()

    def close(self, *, wait: bool) -> None:
        """Stop, and free what was opened; see :meth:`Fetcher.close`."""
        with self._changed:
            self._is_closed = True
            self._waiting.clear()
            for fetched in self._costs:
                fetched.decoded = None
            self._costs.clear()
        self._pool.shutdown(wait=wait, cancel_futures=True)

    def _is_settled(self, fetched: ObjectBytes) -> bool:
        with self._changed:
            self._waiting.pop(fetched, None)
            if self._current is fetched:
                self._changed.wait(_WAIT_SECONDS)
            return self._current is not fetched

    def _go_on(self) -> None:
        if self._waiting and self._has_room() and not (self._is_running or self._is_closed):
            self._pool.submit(self._open_on)
            self._is_running = True

    def _has_room(self) -> bool:
        return self._held < self._max_bytes

    def _open_on(self) -> None:
        while (fetched := self._next()) is not None:
            opened: DecodedObject | None = None
            try:
                opened = self._decode_early(fetched, lambda: not self._is_closed)
            finally:
                self._keep(fetched, opened)

    def _next(self) -> ObjectBytes | None:
        with self._changed:
            self._current = next(iter(self._waiting), None) if self._has_room() else None
            if self._current is not None:
                del self._waiting[self._current]
            self._is_running = self._current is not None
            return self._current

    def _keep(self, fetched: ObjectBytes, opened: DecodedObject | None) -> None:
        with self._changed:
            if opened is not None and not self._is_closed:
                fetched.decoded = opened
                self._costs[fetched] = max(opened.held_bytes, _LEAST_COST)
                self._held += self._costs[fetched]
            self._current = None
            self._changed.notify_all()
