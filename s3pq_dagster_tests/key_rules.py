"""The documented rules for a key, written again for one key at a time, to test the package by."""

SCRATCH = {"_temporary", "_delta_log", "_spark_metadata", "_SUCCESS"}


def is_parquet(key: str) -> bool:
    """Return whether discovery keeps an object with this key."""
    segments = key.split("/")
    hidden = [each for each in segments if each.startswith(".") and each not in {".", ".."}]
    return key.lower().endswith(".parquet") and not hidden and SCRATCH.isdisjoint(segments)


def prefix_of(key: str) -> str:
    """Return everything up to the last slash, or the key of an object at the bucket's root."""
    head, slash, _ = key.rpartition("/")
    return head + slash or key
