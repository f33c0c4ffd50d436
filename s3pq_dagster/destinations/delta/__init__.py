"""Tables and ledger as Delta tables in a directory or under a prefix on S3."""

from s3pq_dagster.destinations.delta.destination import DeltaDestination

__all__ = ["DeltaDestination"]
