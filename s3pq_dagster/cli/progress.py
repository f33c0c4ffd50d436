"""How far a command is, shown on a terminal when it takes longer than two seconds."""

import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from s3pq_dagster.cli.output import is_terminal

_AFTER_SECONDS = 2.0
_Item = TypeVar("_Item")


@dataclass(slots=True)
class Step:
    """What is being done, and how much of it is."""

    _progress: Any = None
    _task: Any = None

    @property
    def is_shown(self) -> bool:
        """Whether anybody sees it."""
        return self._progress is not None

    def is_at(self, done: int) -> None:
        """Say how much is done."""
        if self._progress is not None:
            self._progress.update(self._task, completed=done)


@contextmanager
def step(doing: str, noun: str, total: int | None = None) -> Iterator[Step]:
    """Show progress with its rate, and the time left where a total is known.

    It is drawn on standard error if that is a terminal, and not before two seconds have passed.

    Args:
        doing: What is being done.
        noun: What is counted.
        total: How many there are.
    """
    if not is_terminal(sys.stderr):
        yield Step()
        return
    progress = _made(noun, total)
    task = progress.add_task(doing, total=total)
    timer = threading.Timer(_AFTER_SECONDS, progress.start)
    timer.daemon = True
    timer.start()
    try:
        yield Step(progress, task)
    finally:
        timer.cancel()
        timer.join()
        progress.stop()


def counted_off(found: Iterable[_Item], doing: str, noun: str, total: int) -> Iterator[_Item]:
    """Yield items, and show how many of them are done."""
    with step(doing, noun, total) as shown:
        for number, item in enumerate(found, start=1):
            yield item
            shown.is_at(number)


def _made(noun: str, total: int | None) -> Any:
    from rich.console import Console  # noqa: PLC0415 - only where it is shown
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text  # noqa: PLC0415

    class Rate(ProgressColumn):
        """How many are done a second."""

        def render(self, task: Any) -> Text:
            return Text(f"{task.speed:,.0f} {noun}/s" if task.speed else "")

    columns: list[Any] = [TextColumn("{task.description}")]
    if total is None:
        columns += [TextColumn(f"{{task.completed:,.0f}} {noun}"), Rate()]
    else:
        counts = TextColumn(f"{{task.completed:,.0f}} of {{task.total:,.0f}} {noun}")
        columns += [BarColumn(bar_width=24), counts, Rate(), TimeRemainingColumn()]
    return Progress(*columns, console=Console(stderr=True), transient=True)
