"""How a run that is cancelled is heard while another thread works for it."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import TypeVar

_T = TypeVar("_T")
_WAIT_SECONDS = 1


def wait_interruptibly(answer: Future[_T]) -> _T:
    """Wait for a thread's result in steps of a second.

    Python raises an interrupt only between two waits: once Polars is imported, its handler of
    SIGINT has the system resume a wait, so that a single long one would not end.
    """
    while wait([answer], _WAIT_SECONDS).not_done:
        pass
    return answer.result()


@contextmanager
def stopping_on_interrupt(*stop: Callable[[], None]) -> Iterator[None]:
    """Call each function when the block is left by an exception, then let it pass.

    Destinations read batches from inside their drivers, where Python hears no interrupt. So they do
    it in a thread of their own, and the main thread waits. When the run is cancelled, the main
    thread makes the stream of batches fail: the driver rolls its transaction back.
    """
    try:
        yield
    except BaseException:
        for function in stop:
            function()
        raise
