"""The checks of `s3pq doctor`; each says what it found, and what to do if that is not right."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from s3pq_dagster.cli.looking import SeenTable, seen
from s3pq_dagster.cli.options import Asked
from s3pq_dagster.cli.output import told
from s3pq_dagster.cli.progress import counted_off
from s3pq_dagster.cli.target import OpenTarget, Target, check_known
from s3pq_dagster.destinations.condition import refusal_of
from s3pq_dagster.errors import ConfigurationError, S3ParquetError, StoreError
from s3pq_dagster.logs import counted, human_bytes
from s3pq_dagster.memory import RESERVED_BYTES, memory_limit
from s3pq_dagster.objects import Listing, ObjectMeta
from s3pq_dagster.source.access import seconds_ahead, seconds_ahead_in
from s3pq_dagster.source.listing_page import list_page

_MOST_SKEW_SECONDS = 60
"""S3 refuses requests at 900; lag and age are wrong by less."""
_FIRST_BYTES = 4
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found."""

    name: str
    is_ok: bool
    found: str
    """What was found; if that is not right, what to do."""


def checks_of(
    target: Target, asked: Asked, known: list[list[str]], *, with_rows: bool
) -> Iterator[Check]:
    """Check a source and its destination.

    Args:
        target: They.
        asked: Which tables.
        known: Gets the names of all tables of the source, if some are asked for and its bucket
            can be listed.
        with_rows: Whether rows are counted and held against the ledger.
    """
    try:
        with target.opened() as opened:
            is_listed = False
            for check in _bucket_checks(opened):
                is_listed = is_listed or (check.name == "list" and check.is_ok)
                yield check
            yield from _destination_checks(opened, asked, with_rows=with_rows, listed=is_listed)
            if asked.tables and is_listed:
                with suppress(S3ParquetError):  # told above
                    known.append([table.name for table in opened.tables(Asked())])
            yield _memory_check(opened)
    except S3ParquetError as error:  # the source cannot be opened at all
        yield Check("source", is_ok=False, found=told(error))


def asked_check(asked: Asked, known: Sequence[str]) -> Check:
    """Check that what is asked for is there; ``known`` are the tables of all sources."""
    try:
        check_known(asked, known)
    except ConfigurationError as error:
        return Check("--table", is_ok=False, found=told(error))
    wanted = sum(map(asked.is_wanted, known))
    found = f"{wanted:,} of {counted(len(known), 'table')}"
    return Check("--table", is_ok=True, found=found)


def home_check() -> Check:
    """Check where Dagster keeps its runs."""
    home = os.environ.get("DAGSTER_HOME")
    if not home:
        found = (
            "not set: `dagster dev` forgets its runs, and the daemon does not start; set it to a "
            "directory that stays"
        )
    elif (refusal := refusal_of(Path(home))) is not None:
        found = refusal if refusal.startswith(home) else f"{home} cannot be used: {refusal}"
    elif not Path(home).is_dir():
        found = f"{home} is no directory: make it, or name another"
    else:
        return Check("DAGSTER_HOME", is_ok=True, found=home)
    return Check("DAGSTER_HOME", is_ok=False, found=found)


def _bucket_checks(opened: OpenTarget) -> Iterator[Check]:
    source = opened.source
    where = f"{opened.place} at {source.store.endpoint}, region {source.region}"
    yield Check("bucket", is_ok=True, found=where)
    yield _credentials_check(opened)
    try:
        page = list_page(source.store.requests, source.path_prefix, seen=set())
    except StoreError as error:
        yield Check("list", is_ok=False, found=told(error))
        if (ahead := seconds_ahead_in(error)) is not None:
            yield _clock_told(ahead)
        return
    more = " or more" if page.next_token else ""
    found = f"{counted(page.objects.height, 'object')}{more} below {opened.place}"
    yield Check("list", is_ok=True, found=found)
    yield _read_check(opened, Listing(page.objects))
    yield _clock_check(opened)


def _credentials_check(opened: OpenTarget) -> Check:
    try:
        who = opened.source.identity()
    except S3ParquetError as error:
        return Check("credentials", is_ok=False, found=told(error))
    missing = (
        "none: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or local_profile, or run where a "
        "role gives credentials"
    )
    return Check("credentials", is_ok=who is not None, found=who or missing)


def _read_check(opened: OpenTarget, listing: Listing) -> Check:
    """Read the first bytes of an object, of a Parquet file if there is one."""
    some = [found for found in listing if found.size > _FIRST_BYTES]
    parquet = [found for found in some if found.key.endswith(".parquet")]
    found: ObjectMeta | None = next(iter([*parquet, *some]), None)
    if found is None:
        return Check("get", is_ok=True, found="not tried: there is no object to read")
    try:
        opened.source.store.read(found, 0, _FIRST_BYTES)
    except S3ParquetError as error:
        return Check("get", is_ok=False, found=told(error))
    return Check("get", is_ok=True, found=f"the first bytes of {found.key}")


def _clock_check(opened: OpenTarget) -> Check:
    try:
        ahead = seconds_ahead(opened.source.store)
    except StoreError as error:
        return Check("clock", is_ok=False, found=told(error))
    if ahead is None:
        return Check("clock", is_ok=True, found="not told: the server says no time")
    return _clock_told(ahead)


def _clock_told(ahead: float) -> Check:
    if abs(ahead) <= _MOST_SKEW_SECONDS:
        return Check("clock", is_ok=True, found="within a minute of the bucket's")
    side = "ahead of" if ahead > 0 else "behind"
    found = f"{abs(ahead):.0f} s {side} the bucket's: set this machine's clock (NTP)"
    return Check("clock", is_ok=False, found=found)


def _destination_checks(
    opened: OpenTarget, asked: Asked, *, with_rows: bool, listed: bool
) -> Iterator[Check]:
    try:
        place = opened.io_manager.place()
        names = [table.name for table in opened.tables(asked)] if listed else []
        condition = opened.destination.condition(names)
    except S3ParquetError as error:
        yield Check("destination", is_ok=False, found=told(error))
        return
    yield Check("destination", is_ok=True, found=place)
    untold = condition.untold and f"not tried, since that would write: {condition.untold}"
    found = condition.refusal or untold or "nothing speaks against it; tried by nothing but a load"
    yield Check("writable", is_ok=condition.refusal is None, found=found)
    holders = [f"{table} is written by {who}" for table, who in sorted(condition.holders.items())]
    yield Check("locks", is_ok=True, found=_some(holders) or "no table is being written")
    if listed:
        yield from _table_checks(opened, asked, with_rows=with_rows)


def _table_checks(opened: OpenTarget, asked: Asked, *, with_rows: bool) -> Iterator[Check]:
    try:
        tables = list(seen(opened, opened.tables(asked)))
        failing = [f"{table.name}: {told(table.error)}" for table in tables if table.error]
        loadable = f"{counted(len(tables), 'table')} can be loaded"
        yield Check("tables", is_ok=not failing, found=_some(failing) or loadable)
        if with_rows:
            yield _rows_check(opened, [table for table in tables if table.error is None])
    except S3ParquetError as error:
        yield Check("tables", is_ok=False, found=told(error))


def _rows_check(opened: OpenTarget, tables: Sequence[SeenTable]) -> Check:
    """Count the rows of each table by key, and compare them with the ledger's."""
    differing, rows = list[str](), 0
    there = [table for table in tables if table.look.state.exists]
    for table in counted_off(there, "counting rows", "tables", len(there)):
        audit = opened.destination.audit(table.plan.owner)
        rows += audit.state.rows
        found = audit.state.ledger.reconcile(audit.rows_by_key)
        if found.height:
            key, said, has = found.row(0)
            differing.append(
                f"{table.name}: {found.height} objects differ, {key} has {has} rows and {said} by "
                f"the ledger: run it with full_refresh: true"
            )
    return Check(
        "rows",
        is_ok=not differing,
        found=_some(differing) or f"{rows:,} rows are those of the ledger",
    )


def _memory_check(opened: OpenTarget) -> Check:
    source, there_is = opened.source, memory_limit()
    needed = RESERVED_BYTES + source.max_decoded_bytes + source.max_bytes_in_flight
    found = f"a run may take {human_bytes(needed)} of {human_bytes(there_is)}"
    if needed <= there_is:
        return Check("memory", is_ok=True, found=found)
    advice = "lower max_decoded_bytes and max_bytes_in_flight, or give it more memory"
    return Check("memory", is_ok=False, found=f"{found}: {advice}")


def _some(lines: Sequence[str]) -> str:
    """Join a few lines, and count the others; empty if there are none."""
    more = len(lines) - _MOST_NAMED
    return "; ".join([*lines[:_MOST_NAMED], *([f"{more} more"] if more > 0 else [])])
