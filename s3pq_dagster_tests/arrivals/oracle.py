"""What a table must hold after a day, derived only from what was visible in the bucket."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from s3pq_dagster_tests.arrivals.plan import Content, table_of

Seen = Content | None
"""The version that a look finds at a key; ``None`` once the object is deleted."""


@dataclass
class Sightings:
    """What each key was at each look, one entry where looks in a row saw the same.

    It knows no ledger and no identity of objects: what must be in a table and what may be read
    follow from it by one rule a write mode.
    """

    blocks: dict[str, list[Seen]] = field(default_factory=dict)

    def see(self, table: str, found: Mapping[str, Content]) -> None:
        """Record a look at one table, with everything in it."""
        for key in {key for key in self.blocks if table_of(key) == table} | found.keys():
            now, before = found.get(key), self.blocks.setdefault(key, [])
            if not before or before[-1] != now:
                before.append(now)

    def held(self, write_mode: str) -> Iterator[tuple[str, Content]]:
        """Return the versions whose rows must be in the table, each once."""
        for key, blocks in self.blocks.items():
            for content in _held(blocks, write_mode):
                yield key, content

    def most_reads(self, key: str, content: Content, write_mode: str) -> int:
        """Return how often a version may be fetched.

        It may be fetched each time it replaces another version; in ``append`` only once. If
        the object was deleted in between, it may be read again in ``mirror`` only.
        """
        if write_mode == "append":
            return 1
        there = [s for s in self.blocks.get(key, []) if s is not None or write_mode == "mirror"]
        return sum(
            seen == content and (number == 0 or there[number - 1] != content)
            for number, seen in enumerate(there)
        )

    def rows(self, write_mode: str) -> Counter[tuple[str, int, int, int]]:
        """Return the rows that must be there by identity: key, object, version, row."""
        return Counter(
            (key, content.number, content.version, row)
            for key, content in self.held(write_mode)
            for row in range(content.rows)
        )

    @property
    def malformed(self) -> dict[str, Content]:
        """Return what was malformed at the last look."""
        last = {key: blocks[-1] for key, blocks in self.blocks.items()}
        return {key: seen for key, seen in last.items() if seen is not None and not seen.is_good}


def _held(blocks: list[Seen], write_mode: str) -> list[Content]:
    if write_mode == "mirror" and blocks[-1] is None:
        return []
    since = 0
    if write_mode == "mirror" and None in blocks:
        since = len(blocks) - blocks[::-1].index(None)
    good = [seen for seen in blocks[since:] if seen is not None and seen.is_good]
    return list(dict.fromkeys(good)) if write_mode == "append" else good[-1:]
