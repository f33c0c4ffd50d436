"""What is JSON and what is not, by Python's parser and token by token."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3pq_dagster.decoding.json_text import is_json

PADDING = " " * 70_000
"""Makes a text long enough to be followed token by token."""
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)  # fmt: skip
PIECES = st.lists(
    st.sampled_from(
        [
            *("{", "}", "[", "]", ",", ":", '"a"', "1", "-0", "01", "1.5e+3", ".5", "null", "NaN"),
            *('"\\u00e9"', '"\\x"', '"\n"', "'a'", "\ufeff", "plain words", "\t", "Infinity", " "),
        ]
    ),
    max_size=8,
)


@given(VALUES, st.booleans())
def test_what_python_writes_is_json(value: Any, ascii_only: bool) -> None:  # noqa: FBT001
    """Whether it is short or long."""
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert is_json(text)
    assert is_json(text + PADDING)


@given(PIECES)
def test_both_ways_agree(pieces: list[str]) -> None:
    """A text is JSON whether it is short or long."""
    text = "".join(pieces)
    assert is_json(text) == is_json(text + PADDING)


@pytest.mark.parametrize(
    "text",
    [
        *("", "plain words", "[1,]", '{"a"}', '{"a":}', "{,}", "[", "1 2", "NaN", "[}", "{]"),
        *("'a'", '"\n"', '"\\x"', "]", ",", ":", "01", "1.", '{"a":1 "b":2}', "{1:2}", "\ufeff1"),
    ],
)
def test_what_is_none(text: str) -> None:
    """Whether it is short or long."""
    assert not is_json(text)
    assert not is_json(text + PADDING)


@pytest.mark.parametrize(
    "text", ["1" * 10_000, "[" * 50_000 + "]" * 50_000, "[" * 9999 + "]" * 9999]
)
def test_neither_digits_nor_depth_have_a_limit(text: str) -> None:
    """Python's parser has limits, JSON has none."""
    assert is_json(text)


def test_a_long_text_takes_no_memory_beside_itself() -> None:
    """As objects of Python it would take twenty times its size."""
    text = "[" + "[]," * 100_000 + "[]]"
    tracemalloc.start()
    try:
        assert is_json(text)
        assert tracemalloc.get_traced_memory()[1] < len(text)
    finally:
        tracemalloc.stop()
