"""What `s3pq undo` shows and asks before it takes a load back."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import click

from s3pq_dagster.cli.looking import plan_of
from s3pq_dagster.cli.options import Asked
from s3pq_dagster.cli.output import Output, print_json
from s3pq_dagster.cli.target import OpenTarget, some_of, targets
from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.errors import ConfigurationError
from s3pq_dagster.ledger import format_cursor
from s3pq_dagster.loading.undo import Undo, find_undo, undo
from s3pq_dagster.logs import counted
from s3pq_dagster.source.catalog import TableListing

_MOST_KEYS = 10
"""So many objects are named before the question."""


def run(asked: Asked, run_id: str, table: str, *, yes: bool) -> int:
    """Say what would be taken back, ask, and do it; return the exit code."""
    with _found(asked, table) as (opened, owner):
        found = find_undo(opened.destination.entries(owner), table, run_id)
        if not asked.as_json:
            for text in _foretold(found, opened):
                Output().line(text)
        if not yes and not click.confirm("Take this load back?"):
            Output().line("Nothing is touched.")
            return 1
        rows = undo(opened.destination, owner, found)
    if asked.as_json:
        print_json(_as_json(found, rows))
    else:
        objects = counted(len(found.keys), "object")
        Output().line(f"Done: {counted(rows, 'row')} deleted, {objects} set aside.")
    return 0


@contextmanager
def _found(asked: Asked, table: str) -> Iterator[tuple[OpenTarget, Owner]]:
    """Open the source that has a table.

    Raises:
        ConfigurationError: None has it, or several do.
    """
    with ExitStack() as stack:
        opened = [stack.enter_context(target.opened()) for target in targets(asked)]
        listed = [(each, found) for each in opened for found in each.tables(Asked())]
        having = [(each, found) for each, found in listed if found.name == table]
        if len(having) != 1:
            raise _unclear(table, having, [found.name for _, found in listed])
        ((source, found),) = having
        yield source, plan_of(source, found).owner


def _unclear(
    table: str, having: Sequence[tuple[OpenTarget, TableListing]], known: Sequence[str]
) -> ConfigurationError:
    if having:
        names = ", ".join(sorted(str(each.target.name) for each, _ in having))
        msg = f"several sources have a table {table!r}: choose one with --source, of {names}"
        return ConfigurationError(msg)
    msg = f"there is no table {table!r} in the bucket; there is {some_of(known)}"
    return ConfigurationError(msg)


def _foretold(found: Undo, opened: OpenTarget) -> Iterator[str]:
    first, last = map(format_cursor, found.loaded)
    objects, rows = counted(len(found.keys), "object"), counted(found.rows, "row")
    yield f"run {found.run_id}, from {first} to {last}"
    yield f"  into table {found.table} in {opened.io_manager.place()}"
    yield f"  loaded {objects} with {rows} that are there:"
    for key in found.keys[:_MOST_KEYS]:
        yield f"    {key}"
    if (more := len(found.keys) - _MOST_KEYS) > 0:
        yield f"    and {more:,} more"
    yield "These rows are deleted, and the objects are set aside: nothing loads them again until"
    yield "they change, or a run is asked for it by reload, retry_quarantined or full_refresh."
    yield "Rows of earlier versions that the run replaced do not come back; the columns stay."


def _as_json(found: Undo, rows: int) -> dict[str, Any]:
    return {
        "run_id": found.run_id,
        "table": found.table,
        "deleted_rows": rows,
        "objects": list(found.keys),
        "reason": found.reason,
    }
