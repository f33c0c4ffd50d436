"""Taking back what one run has loaded into a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster.destinations.table_state import Commit, Owner
from s3pq_dagster.errors import DestinationConflictError, UndoRefusedError
from s3pq_dagster.ledger import UNDONE, Status, latest

_IS_LOADED = pl.col("status") == Status.LOADED
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Undo:
    """What taking a run back does to a table."""

    table: str
    run_id: str
    keys: Sequence[str]
    """Keys of the objects whose rows go, sorted; at least one."""
    rows: int
    """How many rows go."""
    loaded: tuple[datetime, datetime]
    """When the run committed the first of these objects, and the last."""

    @property
    def reason(self) -> str:
        """Why the objects are quarantined from then on."""
        return f"{UNDONE}{self.run_id}"


def find_undo(entries: pl.DataFrame, table: str, run_id: str) -> Undo:
    """Find what a run has loaded that is still there.

    Args:
        entries: The table's rows of ``_s3pq_objects``, as :meth:`Destination.entries` has them.
        table: Its name.
        run_id: The run, or the beginning of its id if that is of one run only.

    Raises:
        UndoRefusedError: The run is not known, or nothing of it is left; it replaced or removed
            rows, which do not come back; or rows of other versions of its objects are kept, from
            which its own cannot be told.
    """
    run_id = _run_of(entries, table, run_id)
    of_run = entries.filter(pl.col("run_id") == run_id)
    found = of_run.filter(_IS_LOADED)
    _check_kind(of_run, table, run_id)
    kept = entries.filter(_IS_LOADED & (pl.col("run_id") != run_id))
    if twice := sorted(set(found["key"]) & set(kept["key"])):
        raise UndoRefusedError(
            table,
            run_id,
            f"of {len(twice)} of its objects rows of other versions are kept, {twice[0]!r} among "
            f"them, and nothing tells which rows are of which version",
            "Put the right object in its place and run the table with "
            f"reload: [{twice[0]!r}], which leaves the rows of the current version alone.",
        )
    times = found["loaded_at"]
    return Undo(
        table,
        run_id,
        found["key"].unique().sort().to_list(),
        int(found["rows"].sum()),
        (times.min(), times.max()),  # type: ignore[arg-type]  # there is at least one
    )


def undo(destination: Destination, owner: Owner, found: Undo) -> int:
    """Delete the rows of a run's objects and quarantine the objects, in one transaction.

    Nothing loads them again until their e_tag changes, or a run is asked for it. Rows of earlier
    versions that the run replaced do not come back, and the table's columns stay.

    Args:
        destination: Where the table is.
        owner: The table.
        found: What :func:`find_undo` found.

    Returns:
        The number of rows deleted.

    Raises:
        UndoRefusedError: As :func:`find_undo`, by what the ledger says under the table's lock.
        DestinationConflictError: Another run has changed what is to be taken back.
        DestinationError: The destination failed; nothing is touched.
    """
    with destination.write(owner, run_id=found.run_id, append=False, refresh=False) as writer:
        entries = writer.entries()
        now = find_undo(entries, owner.table, found.run_id)
        if (now.keys, now.rows) != (found.keys, found.rows):
            raise DestinationConflictError(
                f"what run {found.run_id!r} has loaded into table {owner.table!r} was changed by "
                f"another run meanwhile: {len(now.keys)} objects with {now.rows} rows are left of "
                f"{len(found.keys)} with {found.rows}. Nothing is touched. Look again."
            )
        left = entries.filter(_IS_LOADED & ~pl.col("key").is_in(now.keys))
        cursor = latest(left["last_modified"].top_k(1))
        return writer.remove(now.keys, seal=lambda: Commit([], cursor, None), undone=found.reason)


def _run_of(entries: pl.DataFrame, table: str, given: str) -> str:
    """Return the id of the run that a user means; UI and logs show its beginning alone."""
    found = entries.filter(pl.col("run_id").str.starts_with(given) & (given != ""))
    runs = found["run_id"].unique().to_list()
    if given in runs or len(runs) == 1:
        return given if given in runs else str(runs[0])
    last = entries.sort("loaded_at", descending=True)["run_id"].unique(maintain_order=True)
    known = ", ".join(map(repr, last.head(_MOST_NAMED)))
    raise UndoRefusedError(
        table,
        given,
        f"the ledger has {len(runs)} runs whose ids begin like that",
        f"Give the id of a run that has loaded something; the latest are {known}."
        if known
        else "The table was never loaded.",
    )


def _check_kind(of_run: pl.DataFrame, table: str, run_id: str) -> None:
    """Refuse a run of which nothing is left, or that did more than to load objects."""
    loaded = of_run.filter(_IS_LOADED)
    undone = of_run["reason"].str.starts_with(UNDONE).any()
    if loaded.is_empty():
        raise UndoRefusedError(
            table,
            run_id,
            "it is taken back already" if undone else "no object that it loaded is loaded now",
            "What it quarantined or removed is not loaded in any case.",
        )
    if removed := of_run.filter(pl.col("status") == Status.REMOVED).height:
        raise UndoRefusedError(
            table,
            run_id,
            f"it removed the rows of {removed} objects too, which would not come back",
            "Put right objects in the place of bad ones: their rows are replaced.",
        )
    if loaded["refreshed"].null_count():
        raise UndoRefusedError(
            table,
            run_id,
            "a release loaded it whose ledger does not say whether the run replaced the table",
            "Put right objects in the place of bad ones, or run the table with reload.",
        )
    if loaded["refreshed"].any():
        raise UndoRefusedError(
            table,
            run_id,
            "it replaced rows that were loaded before, by a full refresh or a reload, and these "
            "would not come back",
            "Put right objects in the place of bad ones, or run the table with reload.",
        )
