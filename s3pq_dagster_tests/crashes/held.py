"""What is in a destination, read as any client could; and what is wrong with it."""

from collections import Counter
from dataclasses import dataclass, field

from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.ledger import Status
from s3pq_dagster_tests.crashes.scenarios import Rows, Scenario
from s3pq_dagster_tests.destinations.places import Place


@dataclass(frozen=True, slots=True)
class Held:
    """What is in the destination."""

    rows: Rows
    loaded: list[tuple[str, str, int]]
    """Key, e_tag and rows of objects that the ledger has as loaded."""
    known: set[tuple[str, str]]
    """Key and e_tag of objects that the ledger has as loaded or quarantined."""
    tables: set[str]


@dataclass(slots=True)
class Verdict:
    """What one kill broke; empty if it broke nothing."""

    kill: str
    lost: int = 0
    """Rows that were not there in the end."""
    duplicated: int = 0
    """Rows that were there too often in the end."""
    re_read: int = 0
    """Requests for objects, or parts of them, that were in the ledger after the kill."""
    inconsistent: list[str] = field(default_factory=list)
    """Other broken promises, in words."""

    @property
    def is_right(self) -> bool:
        return not (self.lost or self.duplicated or self.re_read or self.inconsistent)


def look(place: Place, scenario: Scenario, bucket: str) -> Held:
    """Read all rows as any client could, and the ledger as the next writer would."""
    there = place.tables()
    rows: Rows = Counter()
    for table in there & scenario.tables:
        rows.update((str(k), int(n)) for k, n in place.select(table, ["_s3_key", scenario.column]))
    loaded: list[tuple[str, str, int]] = []
    known: set[tuple[str, str]] = set()
    for table in scenario.tables:
        for entry in (
            place.open()
            .state(Owner(table, bucket, scenario.pattern(table)))
            .ledger.frame.to_dicts()
        ):
            version = (entry["key"], entry["e_tag"].strip('"'))
            if entry["status"] == Status.LOADED:
                loaded.append((*version, entry["rows"]))
            if entry["status"] != Status.REMOVED:
                known.add(version)
    return Held(rows, loaded, known, there)


def check_schema_versions(place: Place, verdict: Verdict) -> None:
    """Check that the last version of each table's schema is the table's."""
    versions = sorted(place.select("_s3pq_schemas", ["table_name", "version", "arrow_schema"]))
    numbers: Counter[str] = Counter()
    for table, number, _ in versions:
        numbers[table] += 1
        if number != numbers[table]:
            verdict.inconsistent.append(f"version {number} of {table} is its {numbers[table]}th")
    told = {table: data for table, _, data in versions}
    rows = place.select("_s3pq_tables", ["table_name", "arrow_schema"])
    if told != (said := {table: data for table, data in rows if data is not None}):
        verdict.inconsistent.append(f"_s3pq_schemas has {told}, _s3pq_tables {said}")
