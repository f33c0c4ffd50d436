"""Tests of which the first case is in more runs of the tests than the others.

:func:`first_of` parts the values of one parameter; the marker ``first_case`` is for a whole test,
whose cases may come from several parameters or from a fixture's.
"""

from collections.abc import Iterable
from typing import Any

import pytest


def first_of(
    values: Iterable[Any], *, keep: int = 1, others: pytest.MarkDecorator = pytest.mark.thorough
) -> list[Any]:
    """Return parameters; all but the first, or the first few, are for thorough runs.

    Args:
        values: A value, or a tuple of values, for each parameter.
        keep: How many are for every run.
        others: Marks the rest; ``nightly`` where the test itself is thorough.
    """
    return [
        value
        if number < keep
        else pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=others)
        for number, value in enumerate(values)
    ]


def mark_all_but_first_cases(items: Iterable[pytest.Item]) -> None:
    """Mark the cases of each test that is marked ``first_case`` as thorough, but for one."""
    seen = set[str]()
    for item in items:
        if item.get_closest_marker("first_case") is None:
            continue
        test = item.nodeid.partition("[")[0]
        if test in seen:
            item.add_marker(pytest.mark.thorough)
        elif not any(map(item.get_closest_marker, ("thorough", "nightly"))):
            seen.add(test)
