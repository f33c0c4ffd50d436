"""Objects opened while they wait for their turn."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Condition

from s3pq_dagster.fetched import Fetched, Opened

OpenAhead = Callable[[Fetched, Callable[[], bool]], Opened | None]
"""Open an object if that is cheap, whatever its bytes are; asks now and then whether somebody still
wants it. ``None`` says nothing about the object. Raises nothing."""

_LEAST_COST = 64 * 1024
"""What the smallest object counts against the bound: its footer, parsed, is there as well."""


class Opening:
    """Open fetched objects ahead, one at a time, in a thread of its own.

    Nobody waits for an object that is not begun, and a thread that has nothing to do ends: one that
    waited would keep the process from ending.
    """

    def __init__(self, open_ahead: OpenAhead, max_bytes: int) -> None:
        """Get ready.

        Args:
            open_ahead: How to open.
            max_bytes: What opened objects may hold; no more are opened above it.
        """
        self._open_ahead = open_ahead
        self._max_bytes = max_bytes
        self._changed = Condition()
        self._waiting: dict[Fetched, None] = {}  # a set in order
        self._current: Fetched | None = None
        self._is_running = False
        self._is_closed = False
        self._costs: dict[Fetched, int] = {}
        self._held = 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="s3pq-open")

    def add(self, fetched: Fetched) -> None:
        """Have an object opened once there is room."""
        with self._changed:
            self._waiting[fetched] = None
            self._go_on()

    def settle(self, fetched: Fetched) -> None:
        """See that nobody opens an object from now on; wait where somebody is at it."""
        with self._changed:
            self._waiting.pop(fetched, None)
            self._changed.wait_for(lambda: self._current is not fetched)

    def release(self, fetched: Fetched) -> None:
        """Let others be opened in its place."""
        with self._changed:
            fetched.opened = None
            self._held -= self._costs.pop(fetched, 0)
            self._go_on()

    def close(self, *, wait: bool) -> None:
        """Stop; see :meth:`Fetcher.close`."""
        with self._changed:
            self._is_closed = True
            self._waiting.clear()
            for fetched in self._costs:
                fetched.opened = None  # each knows the other: nothing would be freed soon
        self._pool.shutdown(wait=wait, cancel_futures=True)

    def _go_on(self) -> None:
        if self._waiting and self._has_room() and not (self._is_running or self._is_closed):
            self._is_running = True
            self._pool.submit(self._open_on)

    def _has_room(self) -> bool:
        return self._held < self._max_bytes

    def _open_on(self) -> None:
        while (fetched := self._next()) is not None:
            opened: Opened | None = None
            try:
                opened = self._open_ahead(fetched, lambda: not self._is_closed)
            finally:
                with self._changed:
                    if opened is not None and not self._is_closed:
                        fetched.opened = opened
                        self._costs[fetched] = cost = max(opened.kept_bytes, _LEAST_COST)
                        self._held += cost
                    self._current = None
                    self._changed.notify_all()

    def _next(self) -> Fetched | None:
        with self._changed:
            self._current = next(iter(self._waiting), None) if self._has_room() else None
            if self._current is not None:
                del self._waiting[self._current]
            self._is_running = self._current is not None
            return self._current
