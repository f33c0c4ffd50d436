"""One Parquet file decoded within bounds of memory and time."""
