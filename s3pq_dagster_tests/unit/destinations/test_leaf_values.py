"""Values that an engine returns in another type come back as they were written, at any depth."""

import pyarrow as pa
import pytest

from s3pq_dagster.destinations.leaf_values import restored

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
