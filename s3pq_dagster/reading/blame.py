"""Whether an object or this machine is to blame for an error of decoding."""

import pyarrow as pa

from s3pq_dagster.decoding.checked_batch import malformed
from s3pq_dagster.errors import MalformedObjectError


def is_doubtful(error: Exception) -> bool:
    """Return whether the machine, short of memory or threads, may be the cause of an error."""
    return isinstance(error, MemoryError) or type(error) is pa.ArrowException  # "Unknown error"


def blamed(key: str, error: Exception) -> MalformedObjectError:
    """Return the error for an object that does not decode.

    Raises:
        Exception: The given error itself, if memory, disk or descriptors of this machine ran out:
            nothing is wrong with the object then.
    """
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno):
        raise error
    return malformed(key, error)
