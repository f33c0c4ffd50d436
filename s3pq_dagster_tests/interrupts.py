"""Interrupting this process's main thread, as a cancel does."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def interrupting() -> Iterator[Callable[[float], None]]:
    """Give what sends SIGINT some seconds after it is called.

    Again every five seconds until the block ends: one may come at a moment when nothing hears it.
    """
    over = threading.Event()

    def send() -> None:
        while not over.is_set():
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            over.wait(5)

    def after(seconds: float) -> None:
        threading.Timer(seconds, send).start()

    try:
        yield after
    finally:
        over.set()
