"""Interrupting this process's main thread, as a cancel does."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def interrupting() -> Iterator[Callable[[float], None]]:
    """Give what sends SIGINT some seconds after it is called.

    Again every five seconds until the block ends: one may come at a moment when nothing hears it. A
    shell lets what it starts with `&` ignore SIGINT, and so does Python then; not in the block.
    """
    is_ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if is_ignored:
        signal.signal(signal.SIGINT, signal.default_int_handler)
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
        if is_ignored:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
