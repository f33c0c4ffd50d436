"""Small days for Hypothesis: two tables, a dozen objects, a few looks, everything ties."""

from hypothesis import strategies as st

from s3pq_dagster_tests.arrivals.plan import (
    LISTED_AFTER_SECONDS,
    Content,
    Day,
    Event,
    Form,
)

_EVERY = 1000
_KEYS = [f"t{table}/{name}.parquet" for table in range(2) for name in "abcdef"]
_VERSIONS = 3
_MOMENTS = {"before": -1, "after": 1, "while read": LISTED_AFTER_SECONDS + 1}
"""Where an event falls beside its look: before it, between the sensor's listing and the run's, or
between the run's listing and its reading."""
_AGES = [0, 0, 0, 1, 1200, 90 * 86_400]
"""How old the stamp is when an object appears: mostly not at all, so that all of a look tie."""

Step = tuple[str, int | None, str, int]
"""Key, version (``None`` deletes it, a negative one is malformed), moment and age."""

STEP = st.tuples(
    st.sampled_from(_KEYS),
    st.one_of(st.none(), st.integers(-2, _VERSIONS - 1), st.integers(0, _VERSIONS - 1)),
    st.sampled_from(list(_MOMENTS)),
    st.sampled_from(_AGES),
)
SMALL_DAYS = st.lists(st.lists(STEP, max_size=8), min_size=1, max_size=4)
"""What happens around each look."""


def small_day(looks: list[list[Step]]) -> Day:
    """Make a day of drawn steps; both tables have an object from the start."""
    events = [Event(0, f"t{table}/0.parquet", Content(table, 0, 2), 0) for table in range(2)]
    for number, steps in enumerate(looks, start=1):
        in_order = sorted(steps, key=lambda step: _MOMENTS[step[2]])
        events += [_event(number * _EVERY, *step) for step in in_order]
    return Day(events, [_EVERY * number for number in range(1, len(looks) + 3)])


def _event(look: int, key: str, version: int | None, moment: str, age: int) -> Event:
    at = look + _MOMENTS[moment]
    content = None if version is None else _content(_KEYS.index(key) + 10, version)
    return Event(at, key, content, look - age)


def _content(number: int, version: int) -> Content:
    if version < 0:
        return Content(number, version, 0, Form.MALFORMED)
    rows = (3, 0, 900)[version % 3]
    return Content(number, version, rows)
