"""The options that several commands have."""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import click

Command = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """What every command is asked for."""

    module: str | None = None
    """A module with definitions."""
    component: str | None = None
    """A component of the project in the working directory, by its path below ``defs``."""
    source: str | None = None
    """The name of one of several sources."""
    tables: tuple[str, ...] = ()
    """Globs of names of tables; empty: all."""
    as_json: bool = False
    """Whether JSON is printed."""

    def is_wanted(self, table: str) -> bool:
        """Return whether a table is asked for."""
        return not self.tables or any(fnmatchcase(table, glob) for glob in self.tables)


def target_options(function: Command) -> Command:
    """Add the options that say which bucket and destination are meant, and how to print."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


_OPTIONS = [
    click.option(
        "-m",
        "--module",
        metavar="MODULE",
        help="Take bucket and destination from the definitions in a module, such as "
        "my_project.definitions, instead of S3PQ_* variables.",
    ),
    click.option(
        "--component",
        metavar="PATH",
        help="Take them from a component of the dg project in the working directory, by its path "
        "below defs/.",
    ),
    click.option(
        "--source", metavar="NAME", help="Where there are several sources, only that of this name."
    ),
    click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts."),
]
table_option = click.option(
    "-t",
    "--table",
    "tables",
    multiple=True,
    metavar="GLOB",
    help="Only tables whose name a glob matches; may be given several times.",
)
