"""Valid files damaged in one place, reproducible by seed and number."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pyarrow as pa

from s3pq_dagster.decoding.page_headers import UnreadableLayoutError, read_pages, read_row_groups
from s3pq_dagster_tests.malformed.good import KINDS, good_file

_END = 8
_MOST_FLIPPED = 8


@dataclass(frozen=True, slots=True)
class Mutation:
    """One damaged file, and how it was damaged."""

    kind: str
    region: str
    damage: str
    body: bytes

    def __str__(self) -> str:
        return f"{self.kind}, {self.region} {self.damage}"


def mutation(seed: int, number: int) -> Mutation:
    """Make a mutation: kinds alternate by number, the rest is random."""
    chance = random.Random(f"{seed}-{number}")
    kind = KINDS[number % len(KINDS)]
    body, places = good_file(kind), _regions(kind)
    region, damage = chance.choice(sorted(places)), chance.choice(sorted(_DAMAGES))
    start, end = chance.choice(places[region])
    damaged = body[:start] + _DAMAGES[damage](body[start:end], chance) + body[end:]
    return Mutation(kind, region, damage, damaged)


@cache
def _regions(kind: str) -> dict[str, list[tuple[int, int]]]:
    """Locate the regions of a valid file."""
    body = good_file(kind)
    size = len(body)
    footer = size - _END - int.from_bytes(body[-_END:-4], "little")
    found = {
        "magic": [(0, 4)],
        "footer": [(footer, size - _END)],
        "footer length": [(size - _END, size - 4)],
        "end magic": [(size - 4, size)],
        "anywhere": [(0, size)],
    }
    if body[:4] == b"PAR1":
        for name, place in _pages(body):
            found.setdefault(name, []).append(place)
    return found


def _pages(body: bytes) -> list[tuple[str, tuple[int, int]]]:
    source = pa.BufferReader(body)
    found = []
    try:
        for chunk in (chunk for group in read_row_groups(source) for chunk in group):
            before = chunk.start
            for page in read_pages(source, chunk):
                found.append(("page header", (before, page.start)))
                before = page.start + page.stored
                name = "dictionary" if page.is_dictionary else "page"
                found.append((name, (page.start, before)))
    except UnreadableLayoutError:  # encrypted
        found.append(("page", (4, len(body) // 2)))
    return found


def _flipped(part: bytes, chance: random.Random) -> bytes:
    changed = bytearray(part)
    for _ in range(chance.randint(1, _MOST_FLIPPED) if part else 0):
        changed[chance.randrange(len(part))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _cut(part: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(part) + 1)
    return part[:start] + part[chance.randint(start, len(part)) :]


def _within(
    change: Callable[[bytes, random.Random], bytes],
) -> Callable[[bytes, random.Random], bytes]:
    """Change a random part of the region, or all of it."""

    def changed(part: bytes, chance: random.Random) -> bytes:
        length = chance.choice([1, 2, 4, 8, 64, len(part)])
        start = chance.randrange(max(1, len(part) - length + 1))
        stretch = part[start : start + length]
        return part[:start] + change(stretch, chance) + part[start + length :]

    return changed


_DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "flipped": _flipped,
    "cut": _cut,
    "doubled": _within(lambda part, _: part * 2),
    "zeroed": _within(lambda part, _: bytes(len(part))),
    "filled": _within(lambda part, _: b"\xff" * len(part)),
    "randomised": _within(lambda part, chance: chance.randbytes(len(part))),
}
