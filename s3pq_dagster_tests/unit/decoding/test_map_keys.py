"""Maps whose keys a file declares as optional are read as the maps that they are."""

from typing import Any

import pyarrow as pa
import pytest

from s3pq_dagster.decoding.checked_batch import RefusedValueError
from s3pq_dagster.decoding.parquet_file import decode, decode_group, open_file
from s3pq_dagster_tests.malformed.optional_keys import ANNOTATIONS, entries, with_optional_keys
from s3pq_dagster_tests.unit.decoding.test_int96 import FOR_EVER

TEXT, NUMBER = pa.string(), pa.int64()
PLAIN = entries(TEXT, NUMBER)
PLAIN_MAP = pa.map_(TEXT, NUMBER)
ENTRIES = [{"key": "a", "value": 1}, {"key": "b", "value": None}]
MAP = [("a", 1), ("b", None)]
SHAPES: dict[str, tuple[pa.DataType, pa.DataType, list[Any], list[Any]]] = {
    "map": (PLAIN, PLAIN_MAP, [ENTRIES, None, []], [MAP, None, []]),
    "list of maps": (
        pa.list_(PLAIN),
        pa.list_(PLAIN_MAP),
        [[ENTRIES, None], None, []],
        [[MAP, None], None, []],
    ),
    "map beside others in a struct": (
        pa.struct([("x", NUMBER), ("l", pa.list_(NUMBER)), ("m", PLAIN)]),
        pa.struct([("x", NUMBER), ("l", pa.list_(NUMBER)), ("m", PLAIN_MAP)]),
        [{"x": 1, "l": [1], "m": ENTRIES}, None],
        [{"x": 1, "l": [1], "m": MAP}, None],
    ),
    "maps in a map, beside a list of entries": (
        entries(PLAIN, pa.list_(PLAIN)),
        pa.map_(PLAIN_MAP, pa.list_(PLAIN_MAP)),
        [[{"key": ENTRIES, "value": [ENTRIES, []]}], []],
        [[(MAP, [MAP, []])], []],
    ),
    "map of integers of eight bits, which pyarrow is not told of": (
        entries(TEXT, pa.int8()),
        pa.map_(TEXT, pa.int8()),
        [ENTRIES],
        [MAP],
    ),
    "map in a map whose keys are required": (
        pa.map_(TEXT, PLAIN),
        pa.map_(TEXT, PLAIN_MAP),
        [[("k", ENTRIES)], None],
        [[("k", MAP)], None],
    ),
}


@pytest.mark.parametrize("annotation", ANNOTATIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_map_with_optional_keys_has_its_entries(shape: str, annotation: str) -> None:
    """At any depth, whichever way the file calls it a map; columns beside it are as they are."""
    stored, kind, values, expected = SHAPES[shape]
    beside = pa.array([[1]] * len(values), pa.list_(NUMBER))
    table = pa.table({"before": beside, "c": pa.array(values, stored), "after": beside})
    file = open_file(pa.BufferReader(with_optional_keys(table, annotation)))
    found = pa.Table.from_batches(decode(file, 2), file.canonical_schema)
    assert found.schema.field("c").type == kind
    assert found.column("c").to_pylist() == expected
    assert found.column("before").to_pylist() == beside.to_pylist()
    assert found.column("after").to_pylist() == beside.to_pylist()
    found.validate(full=True)


@pytest.mark.parametrize("kind", [PLAIN, pa.list_(PLAIN)])
def test_a_key_that_is_null_is_refused(kind: pa.DataType) -> None:
    """The error names the column."""
    value: list[Any] = [{"key": "a", "value": 1}, {"key": None, "value": 2}]
    values = [ENTRIES, value, ENTRIES]
    column = pa.array(values if kind == PLAIN else [[value] for value in values], kind)
    file = open_file(pa.BufferReader(with_optional_keys(pa.table({"c": column}))))
    for rows_at_a_time in (1, 10):
        with pytest.raises(RefusedValueError, match=r"'c' has a map with a key that is null"):
            list(decode(file, rows_at_a_time))


def test_such_a_map_is_read_in_groups_of_columns() -> None:
    """Each group of leaf columns has its own columns' maps."""
    table = pa.table({"n": [1], "c": pa.array([ENTRIES], PLAIN), "d": pa.array([ENTRIES], PLAIN)})
    file = open_file(pa.BufferReader(with_optional_keys(table)))
    parts = [next(decode_group(file, 0, 10, part)) for part in (range(1), range(1, 5))]
    assert [part.to_pylist() for part in parts] == [[{"n": 1}], [{"c": MAP, "d": MAP}]]


def test_int96_in_such_a_map_is_the_moment_in_the_file() -> None:
    """As key and as value, far from 1970."""
    moments = pa.array([[{"key": FOR_EVER, "value": FOR_EVER}]], entries(*[pa.timestamp("us")] * 2))
    body = with_optional_keys(pa.table({"c": moments}), use_deprecated_int96_timestamps=True)
    (batch,) = decode(open_file(pa.BufferReader(body)), 10)
    assert batch.to_pylist() == [{"c": [(FOR_EVER, FOR_EVER)]}]
