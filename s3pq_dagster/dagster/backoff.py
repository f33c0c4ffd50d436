"""How long to wait before something that failed is asked for again."""

FIRST_SECONDS = 60
MOST_SECONDS = 3600
_MOST_DOUBLINGS = 6


def backoff_seconds(attempts: int) -> int:
    """Return the time from the last attempt to the next; it doubles with each one."""
    return min(FIRST_SECONDS << min(max(attempts - 1, 0), _MOST_DOUBLINGS), MOST_SECONDS)
