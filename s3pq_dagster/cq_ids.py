"""CloudQuery's row ids, the same each time an object is loaded."""

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa

from s3pq_dagster.objects import ObjectMeta

ID_COLUMN = "_cq_id"
PARENT_COLUMN = "_cq_parent_id"


def cq_ids(found: ObjectMeta, bucket: str, rows: np.ndarray[Any, np.dtype[np.int64]]) -> pa.Array:
    """Make a UUIDv8 (RFC 9562, section 5.8) for each row of an object.

    The free 122 bits are 64 bits of SHA-256 over bucket, key and version, then the row's number in
    58 bits. Ids of one object ascend, so they cost a destination next to nothing to store.

    Args:
        found: The object.
        bucket: Its bucket.
        rows: Row numbers within the object, from 0.

    Returns:
        An array of type ``arrow.uuid``, one id a row number.
    """
    parts = [part.encode() for part in (bucket, found.key, found.version)]
    digest = hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in parts)).digest()
    seed = int.from_bytes(digest[:8], "big")
    high = (seed >> 16) << 16 | 0x8000 | (seed >> 4) & 0xFFF
    low = 0b10 << 62 | (seed & 0xF) << 58
    words = np.empty((len(rows), 2), dtype=">u8")
    words[:, 0] = high
    words[:, 1] = rows.astype(np.uint64) | np.uint64(low)
    storage = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), len(rows), [None, pa.py_buffer(words.tobytes())]
    )
    return pa.ExtensionArray.from_storage(pa.uuid(), storage)
