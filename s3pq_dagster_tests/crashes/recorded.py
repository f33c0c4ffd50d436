"""What Dagster has recorded of partitions, held against listing and destination."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from s3pq_dagster.dagster.metadata import DATA_VERSION_TAG, PARTITION_ROW_COUNT
from s3pq_dagster.ledger import fingerprint
from s3pq_dagster.objects import Listing
from s3pq_dagster_tests.crashes.held import Held, Verdict
from s3pq_dagster_tests.crashes.scenarios import Scenario, day_of

_MOST_EVENTS = 1000


@dataclass(frozen=True, slots=True)
class Recorded:
    """The newest materialization of a partition."""

    fingerprint: str
    """The first half of its data version; the other half names the destination's place."""
    rows: int


def recorded(home: Path, asset: dg.AssetKey) -> dict[str, Recorded]:
    """Read what a ``DAGSTER_HOME`` has of each partition of an asset."""
    found = {}
    with dg.DagsterInstance.from_config(str(home)) as instance:
        for record in reversed(instance.fetch_materializations(asset, _MOST_EVENTS).records):
            event = record.asset_materialization
            assert event is not None
            assert event.partition is not None
            assert event.tags is not None
            version, rows = event.tags[DATA_VERSION_TAG], event.metadata[PARTITION_ROW_COUNT]
            assert isinstance(rows.value, int)
            found[event.partition] = Recorded(version.partition("-")[0], rows.value)
    return found


@dataclass(frozen=True, slots=True)
class Bookkeeping:
    """What may be recorded of a table's partitions, and when."""

    scenario: Scenario
    asset: dg.AssetKey
    before: dict[str, Recorded]
    """What was recorded before the run that is killed."""
    listing: Listing
    layout: str
    """Hash of the columns that keys make."""

    def check_left(self, home: Path, left: Held, verdict: Verdict) -> None:
        """Check that the killed run recorded no partition of which something was pending."""
        for day, now in recorded(home, self.asset).items():
            if now == self.before.get(day):
                continue
            listed = self._of(day).frame.select("key", "e_tag").iter_rows()
            versions = {(key, e_tag.strip('"')) for key, e_tag in listed}
            if now.fingerprint != self._fingerprint(day) or versions - left.known:
                verdict.inconsistent.append(f"{day} is recorded, and not whole")
            if not self.scenario.is_in_killed(f"day={day}"):
                verdict.inconsistent.append(f"{day} is recorded by a run of other partitions")

    def check_end(self, home: Path, verdict: Verdict) -> None:
        """Check that each partition is recorded as it is in the end."""
        rows = Counter[str]()
        for key, versions in self.scenario.held_after.items():
            rows[day_of(key)] += sum(map(len, versions))
        found = recorded(home, self.asset)
        for day in sorted({*found, *map(day_of, self.listing.frame["key"])}):
            wanted = Recorded(self._fingerprint(day), rows[day])
            if found.get(day) != wanted:
                verdict.inconsistent.append(f"{day} is recorded as {found.get(day)}, not {wanted}")

    def _of(self, day: str) -> Listing:
        is_of = [day_of(key) == day for key in self.listing.frame["key"]]
        return Listing(self.listing.frame.filter(is_of))

    def _fingerprint(self, day: str) -> str:
        return fingerprint(self._of(day), self.layout)
