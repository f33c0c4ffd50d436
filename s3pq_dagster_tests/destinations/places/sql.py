"""A place that tests change and read with SQL."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any


class SqlPlace(ABC):
    """A place that tests change and read with SQL."""

    @abstractmethod
    def run(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement as a user would."""

    def drop_table(self, table: str) -> None:
        self.run(f"DROP TABLE {quoted(table)}")

    def delete_rows(self, table: str, key: str) -> None:
        self.run(f"DELETE FROM {quoted(table)} WHERE _s3_key = '{key}'")

    def drop_ledger(self, *, whole: bool) -> None:
        self.run("DROP TABLE _s3pq_objects")
        if whole:
            self.run("DROP TABLE _s3pq_tables")

    def set_format_version(self, version: int) -> None:
        self.run(f"UPDATE _s3pq_tables SET format_version = {version}")

    def select(self, table: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        return self.run(f"SELECT {', '.join(map(quoted, columns))} FROM {quoted(table)}")


def quoted(name: str) -> str:
    """Quote an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
