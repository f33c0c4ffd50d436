"""Errors of taking a load back, and of loading some objects again."""

from collections.abc import Sequence

from s3pq_dagster.errors.base import S3ParquetError


class UndoRefusedError(S3ParquetError):
    """A run cannot be taken back."""

    def __init__(self, table: str, run_id: str, found: str, advice: str) -> None:
        """Say why.

        Args:
            table: The table.
            run_id: The run that was to be taken back.
            found: What is in the way.
            advice: What to do instead.
        """
        self.table, self.run_id = table, run_id
        super().__init__(
            f"run {run_id!r} cannot be taken back from table {table!r}: {found}. Nothing is "
            f"touched. {advice}"
        )


class NothingToReloadError(S3ParquetError):
    """A pattern of the run config ``reload`` takes no listed object."""

    def __init__(self, table: str, patterns: Sequence[str], listed: int, example: str) -> None:
        """Name the patterns.

        Args:
            table: The table.
            patterns: Those that take no object; at least one.
            listed: How many objects of the table are listed.
            example: The key of one of them; empty if there is none.
        """
        self.table, self.patterns = table, patterns
        such_as = f", such as {example!r}" if example else ""
        super().__init__(
            f"reload: {' and '.join(map(repr, patterns))} takes none of the {listed} listed "
            f"objects of table {table!r}{such_as}. Nothing is touched. Give patterns of whole "
            f"keys, in which * stands for any characters, / included."
        )
