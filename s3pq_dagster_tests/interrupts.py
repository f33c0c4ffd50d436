"""Interrupting this process's main thread as Ctrl-C does."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def interrupting() -> Iterator[Callable[[float], None]]:
    """Yield a function that sends SIGINT to the main thread after so many seconds.

    The signal is repeated every five seconds until the block ends, because one may arrive while
    nothing can react to it. A shell starts background jobs with SIGINT ignored, and Python then
    ignores it too; inside the block it does not.
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
