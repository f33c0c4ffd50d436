"""Bringing committed intents into the ledger's tables, and deleting those that never will be.

A writer applies its own intent. If it dies before that, whoever opens the table next applies it.
Several processes may do so at the same time.
"""

from dataclasses import replace

from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from s3pq_dagster.destinations.delta.failures import translated
from s3pq_dagster.destinations.delta.intents import Intent
from s3pq_dagster.destinations.delta.ledger_tables import LedgerTables
from s3pq_dagster.destinations.delta.log import ConcurrentCommitError
from s3pq_dagster.destinations.delta.snapshot import Snapshot, TableLogs
from s3pq_dagster.errors import DestinationError

_ATTEMPTS = 200


def finish_last_run(logs: TableLogs, found: Snapshot, *, alone: bool) -> Snapshot:
    """Apply the committed intent that a run left behind, and delete void ones.

    Args:
        logs: The table's.
        found: The table as it is.
        alone: Whether the caller holds the table's lock. If so, no writer is about to commit, and
            every intent that is not committed is void.

    Returns:
        The table afterwards.
    """
    with translated(logs.log.shown):
        if found.pending is not None:
            apply_intent(logs, found.pending)
            logs.intents.delete(found.pending.number)
            found = logs.snapshot()
        for number in logs.intents.numbers():
            intent = None if alone else logs.intents.read(number)
            if alone or intent is None or _is_over(intent, found):
                logs.intents.delete(number)
    return found


def apply_intent(logs: TableLogs, intent: Intent) -> None:
    """Bring a committed intent into the ledger's tables, unless they have it already.

    Raises:
        DestinationError: The tables could not be written.
    """
    try:
        Retrying(
            retry=retry_if_exception_type(ConcurrentCommitError),
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.01, max=0.5),
            reraise=True,
        )(_apply, logs, intent)
    except ConcurrentCommitError as error:
        msg = (
            f"the ledger of table {logs.table!r} could not be written, because other runs wrote "
            f"it all the time: {error}. Its rows are committed; the next run enters them."
        )
        raise DestinationError(msg) from error


def snapshot_after(logs: TableLogs, before: Snapshot, intent: Intent) -> Snapshot:
    """Return the snapshot after an applied intent, without reading the whole ledger again."""
    version = logs.log.open()
    if version is not None and version.transaction() != intent.number:
        return logs.snapshot()  # another run has committed since
    return replace(
        before,
        version=version,
        number=intent.number,
        pending=None,
        stored=intent.change.applied(before.entries),
        stored_row=intent.change.row,
    )


def _apply(logs: TableLogs, intent: Intent) -> None:
    # Each table is written only if its number is that of the change before, or this change is
    # still the last one. Otherwise others applied it and went on: to apply it once more would
    # bring back what later changes replaced.
    ledger = logs.ledger
    objects = ledger.objects.log.open()
    entered = ledger.objects.number_in(objects)
    if entered != intent.number:
        if entered != intent.after and not _is_last(logs, intent):
            return
        assert objects is not None  # noqa: S101 - created before anything is committed
        ledger.objects.apply(objects, intent)
    _apply_versions(ledger, intent)  # before _s3pq_tables, by which readers tell whether it is over
    tables = ledger.tables.log.open()
    listed = ledger.tables.number_in(tables)
    if tables is None or listed == intent.number:
        return
    if listed != intent.after:
        now = ledger.objects.number_in(ledger.objects.log.open())
        if now != intent.number:
            return
    ledger.tables.apply(tables, intent)


def _apply_versions(ledger: LedgerTables, intent: Intent) -> None:
    if not intent.change.versions:
        return
    schemas = ledger.schemas.log.open()
    if schemas is None:
        ledger.schemas.create()
        schemas = ledger.schemas.log.open()
    assert schemas is not None  # noqa: S101 - just created
    ledger.schemas.apply(schemas, intent)


def _is_last(logs: TableLogs, intent: Intent) -> bool:
    """Return whether an intent that is not in ``_s3pq_objects`` is the last committed change."""
    if not intent.in_table:
        return False
    version = logs.log.open()
    return version is not None and version.transaction() == intent.number


def _is_over(intent: Intent, found: Snapshot) -> bool:
    """Return whether an intent cannot be committed any more, since another commit took its place.

    One that still can be belongs to a writer that is about to commit it, and is left alone.
    """
    if intent.number == found.number:
        return True  # and entered: finish_last_run() did that before
    if not intent.in_table:
        return intent.after != found.number or found.version is not None
    latest = -1 if found.version is None else found.version.number
    return latest > (-1 if intent.upon is None else intent.upon)
