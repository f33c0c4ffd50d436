"""What is printed: tables for a terminal, plain columns for a pipe, JSON for scripts."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

import click

from s3pq_dagster.errors import one_line


@dataclass(frozen=True, slots=True)
class Column:
    """A column of what is printed."""

    name: str
    is_number: bool = False
    """Whether its cells are to the right."""


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether somebody sees what is written; a stream that was closed is ``None``."""
    return stream is not None and stream.isatty()


@dataclass(slots=True)
class Output:
    """Prints to standard output: for people if that is a terminal, else the same as plain text."""

    is_terminal: bool = field(default_factory=lambda: is_terminal(sys.stdout))

    def heading(self, text: str) -> None:
        """Print a line above what follows."""
        click.echo(click.style(one_line(text), bold=True) if self.is_terminal else one_line(text))

    def line(self, text: str) -> None:
        """Print a line; what would break it or a terminal is escaped."""
        click.echo(one_line(text))

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
        """Print rows in columns; nothing is cut off."""
        cells = [[one_line(cell) for cell in row] for row in rows]
        if self.is_terminal:
            _print_rich(columns, cells)
        else:
            for text in _aligned(columns, cells):
                click.echo(text)


def told(error: Exception) -> str:
    """Return class and message of an error in one line, whatever lines the message has."""
    message = " ".join(part.strip() for part in str(error).splitlines())
    return one_line(f"{type(error).__name__}: {message}")


def print_json(found: Any) -> None:
    """Print a value as JSON, with the names in the order in which they are given."""
    click.echo(json.dumps(found, indent=2, ensure_ascii=True))


def _print_rich(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    # It takes a tenth of a second to import, and a pipe needs none of it.
    from rich import box  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    shown = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        shown.add_column(
            column.name, justify="right" if column.is_number else "left", overflow="fold"
        )
    for row in rows:
        shown.add_row(*map(Text, row))
    Console(highlight=False).print(shown)


def _aligned(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return lines of columns that are two spaces apart, the names first."""
    lines = [[column.name for column in columns], *map(list, rows)]
    widths = [max(len(line[number]) for line in lines) for number in range(len(columns))]
    return [
        "  ".join(
            cell.rjust(width) if column.is_number else cell.ljust(width)
            for column, cell, width in zip(columns, line, widths, strict=True)
        ).rstrip()
        for line in lines
    ]
