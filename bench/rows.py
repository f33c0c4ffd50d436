"""Rows of twelve mixed columns, the same for the same seed."""

import random

import numpy as np
import pyarrow as pa

_WORDS = 1000
_MOMENT = 1_700_000_000_000_000


def mixed(drawn: np.random.Generator, start: int, count: int) -> pa.RecordBatch:
    """Make ``count`` random rows whose ``id`` begins at ``start``."""
    words = pa.array([f"{random.Random(n).random():.12f}" for n in range(_WORDS)])
    integers = drawn.integers(0, 2**40, (4, count))
    floats = drawn.random((3, count))
    taken = [pa.array(drawn.integers(0, _WORDS, count)) for _ in range(2)]
    moments = np.sort(drawn.integers(0, 10**12, (2, count))) + _MOMENT
    return pa.record_batch(
        {
            "id": pa.array(np.arange(count) + start),
            "small": pa.array((integers[0] % 1000).astype(np.int32)),
            "large": pa.array(integers[1]),
            "count": pa.array(integers[2] % 97),
            "price": pa.array(floats[0]),
            "weight": pa.array(floats[1].astype(np.float32)),
            "share": pa.array(floats[2]),
            "name": words.take(taken[0]),
            "city": words.take(taken[1]),
            "made": pa.array(moments[0], pa.timestamp("us", "UTC")),
            "sold": pa.array(moments[1], pa.timestamp("us")),
            "flag": pa.array(integers[3] % 2 == 0),
        }
    )
