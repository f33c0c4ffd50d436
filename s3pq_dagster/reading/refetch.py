"""Which objects are fetched again after an error, and for which cause."""

from enum import Enum, auto

from s3pq_dagster.errors import (
    BrokenAnswerError,
    MalformedObjectError,
    ObjectChangedError,
    ObjectNotFoundError,
)
from s3pq_dagster.reading.object_bytes import ObjectBytes
from s3pq_dagster.source import e_tags

MOST_CHANGES = 3
"""How often an object may be overwritten while it is read before that is an error."""
_FACTS = (MalformedObjectError, ObjectChangedError, ObjectNotFoundError)
"""Errors that state a fact about the object: asking again brings the same answer."""


class Refetch(Enum):
    """Why an object is fetched again."""

    EARLY = auto()
    """Fetching failed while the object was prefetched; the cause may be gone by now."""
    CHANGED = auto()
    """The object was overwritten while it was read: its new version is fetched instead."""
    RANGES = auto()
    """The ranges of a large object do not match its MD5: one transfer may be at fault."""


def refetch_cause(fetched: ObjectBytes) -> Refetch | None:
    """Decide whether an object whose fetching ended is fetched again.

    Returns:
        The cause; ``None`` if there is no error, or if the error is final.
    """
    error = fetched.error
    if error is None:
        return None
    if fetched.is_early and not isinstance(error, _FACTS):
        return Refetch.EARLY
    if isinstance(error, ObjectChangedError) and fetched.changes < MOST_CHANGES:
        return Refetch.CHANGED
    did_not_match = isinstance(error, BrokenAnswerError) and fetched.unmatched
    if did_not_match and len(fetched.unmatched) < e_tags.MOST_READS:
        return Refetch.RANGES
    return None
