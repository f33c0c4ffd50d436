"""Statements, whatever driver sends them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa

ONE_SNAPSHOT = "ISOLATION LEVEL REPEATABLE READ READ ONLY"
Copy = Callable[[str, pa.Schema, Iterable[pa.RecordBatch]], int]
"""See :meth:`Connection.copy`."""


class Statements(ABC):
    """A connection as far as it runs statements; parameters are ``$1``, ``$2``, …."""

    @abstractmethod
    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run a statement and fetch all it returns."""

    def one(self, sql: str, *parameters: Any) -> Any:
        """Run a statement that returns one value, and give that."""
        ((found,),) = self.rows(sql, *parameters)
        return found

    def run(self, sql: str, *parameters: Any) -> None:
        """Run a statement."""
        self.rows(sql, *parameters)
