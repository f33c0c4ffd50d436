"""Parameters of which the first is for every run of the tests, and the others for thorough ones."""

from collections.abc import Iterable
from typing import Any

import pytest


def first_of(values: Iterable[Any], *, keep: int = 1) -> list[Any]:
    """Return parameters; all but the first, or the first few, are for thorough runs.

    Args:
        values: A value, or a tuple of values, for each parameter.
        keep: How many are for every run.
    """
    return [
        value
        if number < keep
        else pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=_THOROUGH)
        for number, value in enumerate(values)
    ]


_THOROUGH = pytest.mark.thorough
