"""Threads that have to end."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SECONDS = 5


@contextmanager
def none_left(*names: str) -> Iterator[None]:
    """See that threads end which begin in the block and whose names begin so."""
    before = set(threading.enumerate())
    yield
    left = [t for t in set(threading.enumerate()) - before if t.name.startswith(names)]
    for thread in left:
        thread.join(_SECONDS)
    assert not [thread for thread in left if thread.is_alive()]
