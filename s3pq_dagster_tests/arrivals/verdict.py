"""Whether a DuckDB file holds what a day requires."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from s3pq_dagster_tests.arrivals.plan import Content
from s3pq_dagster_tests.arrivals.play import Player

Row = tuple[str, int, int, int]
"""Key, object, version and row: the identity of a row."""


@dataclass
class Verdict:
    """What is wrong after a day; if all is right, everything is empty."""

    lost: set[Row] = field(default_factory=set)
    duplicated: set[Row] = field(default_factory=set)
    unexpected: set[Row] = field(default_factory=set)
    """Rows of versions that the write mode removes."""
    re_read: set[tuple[str, Content]] = field(default_factory=set)
    not_in_ledger: set[tuple[str, str, int]] = field(default_factory=set)
    """Key, e_tag and rows of objects in the table that the ledger does not have."""
    only_in_ledger: set[tuple[str, str, int]] = field(default_factory=set)
    not_in_quarantine: set[tuple[str, str]] = field(default_factory=set)
    changed: set[Row] = field(default_factory=set)
    """Rows whose values are not those of their object."""
    only_in_quarantine: set[tuple[str, str]] = field(default_factory=set)
    """Key and e_tag of objects in the bucket that are readable and yet quarantined."""

    @property
    def problems(self) -> dict[str, list[Any]]:
        """Return what is wrong by name, with some examples of each."""
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: sorted(wrong, key=str)[:5] for name, wrong in found.items() if wrong}

    @staticmethod
    def objects(rows: Iterable[Row]) -> int:
        """Count the versions of objects that some rows belong to."""
        return len({(key, number, version) for key, number, version, _ in rows})


def judge(player: Player, database: Path, write_mode: str) -> Verdict:
    """Compare a destination with what was visible, and the requests with what was new."""
    record, stage = player.record, player.stage
    must, verdict = record.sightings.rows(write_mode), Verdict()
    with duckdb.connect(str(database), read_only=True) as connection:
        rows = _rows(connection)
        ledger = connection.execute("SELECT key, e_tag, rows, status FROM _s3pq_objects").fetchall()
        verdict.changed = _changed(connection)
    verdict.lost = set(must - rows)
    verdict.unexpected = set(rows) - set(must)
    verdict.duplicated = {row for row, count in rows.items() if count > 1}
    contents = {(key, e_tag): content for (key, content), e_tag in stage.e_tags.items()}
    for (key, e_tag, _), count in record.reads.items():
        content = contents[key, e_tag]
        most = record.sightings.most_reads(key, content, write_mode)
        if count > most + record.explained[key, content]:
            verdict.re_read.add((key, content))
    held = {
        (key, stage.e_tags[key, content], content.rows)
        for key, content in record.sightings.held(write_mode)
    }
    entries = [(key, e_tag, count) for key, e_tag, count, status in ledger if status == "loaded"]
    verdict.not_in_ledger = held - set(entries)
    verdict.only_in_ledger = set((Counter(entries) - Counter(held)).elements())
    set_aside = {(key, e_tag) for key, e_tag, _, status in ledger if status == "quarantined"}
    there = {(key, stage.e_tags[key, content]) for key, content in stage.there.items()}
    malformed = {
        (key, stage.e_tags[key, content])
        for key, content in stage.there.items()
        if not content.is_good
    }
    verdict.not_in_quarantine = malformed - set_aside
    verdict.only_in_quarantine = (set_aside & there) - malformed
    return verdict


def _changed(connection: duckdb.DuckDBPyConnection) -> set[Row]:
    """Find rows of objects that drift whose column ``extra``, or JSON, or partition is wrong."""
    wrong: set[Row] = set()
    for table, part in connection.execute(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE column_name IN ('hour', 'day')"
    ).fetchall():
        names = {row[0] for row in connection.execute(f'DESCRIBE "{table}"').fetchall()}
        found = ["extra"] if "extra" in names else []
        found += ["_s3pq_rescued ->> 'extra'"] if "_s3pq_rescued" in names else []
        extra = f"coalesce(NULL, {', '.join(found)})" if found else "NULL"
        wrong |= set(
            connection.execute(
                f'SELECT _s3_key, object, version, "row"::BIGINT FROM "{table}" WHERE '
                f"{extra} IS DISTINCT FROM CASE WHEN object % 3 = 1 THEN 'of ' || object END "
                f"OR split_part(split_part(_s3_key, '{part}=', 2), '/', 1) "
                f"IS DISTINCT FROM {part}::TEXT"
            ).fetchall()
        )
    return wrong


def _rows(connection: duckdb.DuckDBPyConnection) -> Counter[Row]:
    tables = connection.execute(
        "SELECT table_name FROM duckdb_tables() WHERE NOT starts_with(table_name, '_s3pq_')"
    ).fetchall()
    found: Counter[Row] = Counter()
    for (table,) in tables:
        for *row, count in connection.execute(
            f'SELECT _s3_key, object, version, "row", count(*) FROM "{table}" GROUP BY ALL'
        ).fetchall():
            key, number, version, place = row
            found[key, number, version, place] += count
    return found
