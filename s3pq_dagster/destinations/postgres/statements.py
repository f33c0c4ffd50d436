"""Running SQL statements over any driver's connection."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa

ONE_SNAPSHOT = "ISOLATION LEVEL REPEATABLE READ READ ONLY"
Copy = Callable[[str, pa.Schema, Iterable[pa.RecordBatch]], int]
"""See :meth:`Connection.copy`."""


class Statements(ABC):
    """A connection that runs SQL statements; parameters are written ``$1``, ``$2``, …."""

    @abstractmethod
    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""

    def one(self, sql: str, *parameters: Any) -> Any:
        """Run a statement that returns one row of one column, and return that value."""
        ((found,),) = self.rows(sql, *parameters)
        return found

    def run(self, sql: str, *parameters: Any) -> None:
        """Run a statement."""
        self.rows(sql, *parameters)
