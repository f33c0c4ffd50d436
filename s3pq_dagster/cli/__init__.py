"""The command line: what a load would do, what it did, and whether everything it needs is there."""

from s3pq_dagster.cli.group import main

__all__ = ["main"]
