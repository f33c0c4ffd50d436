"""Every promise of s3pq_dagster, tested with real parts."""
