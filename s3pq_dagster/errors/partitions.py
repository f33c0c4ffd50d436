"""Errors of a table's partitions."""

from s3pq_dagster.errors.base import S3ParquetError


class TooManyPartitionsError(S3ParquetError):
    """A table would have more partitions than Dagster is made for."""

    lasting = True

    def __init__(self, table: str, partitions: int, most: int, first: str) -> None:
        """Count them.

        Args:
            table: Its name.
            partitions: How many it would have.
            most: How many it may have.
            first: The first of them.
        """
        self.facts = {"table": table, "partitions": partitions, "most": most, "first": first}
        super().__init__(
            f"table {table!r} would have {partitions} partitions from {first!r} on, and Dagster is "
            f"made for {most} at most. In the rule's `partitions` give a later `start`, or take "
            f"longer ones, as daily instead of hourly; then reload the code location."
        )
