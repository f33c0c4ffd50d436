"""Values that an engine returns in another type come back as they were written, at any depth."""

import uuid

import pyarrow as pa
import pytest

from s3pq_dagster.destinations.leaf_values import restored
from s3pq_dagster.schemas import retyped

INTERVAL = pa.month_day_nano_interval()
DAY = 86_400 * 10**6
ONE = pa.MonthDayNano([0, 1, 5000])
"""A day and five microseconds."""
KINDS = {
    "list": (pa.list_, [[ONE, None], None, []], [[DAY + 5, None], None, []]),
    "struct": (lambda kind: pa.struct([("d", kind)]), [{"d": ONE}, None], [{"d": DAY + 5}, None]),
    "map": (
        lambda kind: pa.map_(pa.string(), kind),
        [[("k", ONE)], None],
        [[("k", DAY + 5)], None],
    ),
    "list of nulls": (pa.list_, [None, None], [None, None]),
}


@pytest.mark.parametrize(("nested", "returned", "written"), KINDS.values(), ids=KINDS)
def test_intervals_within_a_column_are_durations_again(nested, returned, written) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """DuckDB returns durations as intervals, for which Arrow has no cast."""
    found = restored(pa.array(returned, nested(INTERVAL)), nested(pa.duration("us")))
    assert found.type == nested(pa.duration("us"))
    assert found.cast(nested(pa.int64())).to_pylist() == written


def test_a_month_is_no_duration() -> None:
    """Somebody else wrote it: it has no fixed length."""
    months = pa.array([[pa.MonthDayNano([1, 0, 0])]], pa.list_(INTERVAL))
    with pytest.raises(pa.ArrowInvalid, match="months"):
        restored(months, pa.list_(pa.duration("us")))


ID = uuid.UUID(int=7)
LEAVES = pa.array(["", str(ID), "", str(ID)])
"""Text of UUIDs, and what an engine may leave where there is none."""
HIDING = {
    "list": (
        pa.ListArray.from_arrays([0, 1, 2, 4], LEAVES, mask=pa.array([True, False, True])),
        pa.list_(pa.uuid()),
        [None, [ID], None],
    ),
    "list of fixed size": (
        pa.FixedSizeListArray.from_arrays(LEAVES, 1, mask=pa.array([True, False, True, False])),
        pa.list_(pa.uuid(), 1),
        [None, [ID], None, [ID]],
    ),
    "struct": (
        pa.StructArray.from_arrays([LEAVES], ["id"], mask=pa.array([True, False, True, False])),
        pa.struct([("id", pa.uuid())]),
        [None, {"id": ID}, None, {"id": ID}],
    ),
}


@pytest.mark.parametrize(("returned", "kind", "values"), HIDING.values(), ids=HIDING)
@pytest.mark.parametrize("start", [0, 1])
def test_what_is_below_a_null_means_nothing(
    returned: pa.Array, kind: pa.DataType, values: list[object], start: int
) -> None:
    """PostgreSQL's lists come back with empty text below a null, which is no UUID."""
    assert restored(returned.slice(start), kind).to_pylist() == values[start:]


def test_a_struct_below_a_null_hides_what_is_within() -> None:
    """A list of structs is null: the structs are not, and their UUIDs mean nothing."""
    inner = pa.StructArray.from_arrays([LEAVES], ["id"])
    listed = pa.FixedSizeListArray.from_arrays(inner, 2, mask=pa.array([True, True]))
    kind = pa.list_(pa.struct([("id", pa.uuid())]), 2)
    assert restored(listed, kind).to_pylist() == [None, None]


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        (pa.array(["", ""]), pa.uuid()),
        (pa.array([ONE, ONE], INTERVAL), pa.duration("us")),
    ],
    ids=["text", "intervals"],
)
def test_keys_of_a_map_below_a_null_are_no_nulls(keys: pa.Array, kind: pa.DataType) -> None:
    """Arrow ends the process if a map is made of null keys, though they mean nothing."""
    entries = pa.StructArray.from_arrays([keys, pa.array([1, 2])], ["key", "value"])
    returned = pa.ListArray.from_arrays(
        [0, 2], entries.cast(pa.struct([("key", keys.type), ("value", pa.int64())]))
    )
    listed = pa.FixedSizeListArray.from_arrays(returned, 1, mask=pa.array([True]))
    mapped = pa.list_(pa.map_(keys.type, pa.int64()), 1)
    wanted = pa.list_(pa.map_(kind, pa.int64()), 1)
    assert restored(retyped(listed, mapped), wanted).to_pylist() == [None]


def test_text_that_is_no_uuid_is_refused() -> None:
    """Somebody else wrote it."""
    with pytest.raises(pa.ArrowInvalid, match="36"):
        restored(pa.array([["no"]]), pa.list_(pa.uuid()))
