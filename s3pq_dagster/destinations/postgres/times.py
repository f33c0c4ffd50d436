"""Times as integers: Python's datetime ends with the year 9999, PostgreSQL's and Arrow's do not."""

from psycopg.abc import Buffer
from psycopg.adapt import AdaptersMap
from psycopg.types.numeric import Int8BinaryLoader

EPOCH = 946_684_800_000_000
"""PostgreSQL's epoch, 2000-01-01, in microseconds since Arrow's, 1970-01-01."""


class _Microseconds(Int8BinaryLoader):
    def load(self, data: Buffer) -> int:
        return super().load(data) + EPOCH


def as_microseconds(adapters: AdaptersMap) -> None:
    """Let a cursor return timestamps, with a time zone or without, as microseconds since 1970."""
    for name in ("timestamp", "timestamptz"):
        adapters.register_loader(name, _Microseconds)
