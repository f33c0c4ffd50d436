"""Parameters of which the first is for more runs of the tests than the others."""

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
