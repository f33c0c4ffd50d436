"""The format of a log line."""

import json

import pytest

from s3pq_dagster.logs import human_bytes, human_time, line


def test_an_event_alone_is_its_name() -> None:
    """An event without facts is a line of its own name."""
    assert line("tick") == "tick"


def test_facts_keep_their_order() -> None:
    """Facts are in the order they were given."""
    assert line("read", b=1, a="x", c=True) == "read b=1 a=x c=True"


def test_none_is_left_out() -> None:
    """A fact that is ``None`` is left out."""
    assert line("read", a=None, b=0, c="") == 'read b=0 c=""'


def test_a_float_has_three_digits() -> None:
    """Fractions always have three digits."""
    assert line("done", seconds=1.23456) == "done seconds=1.235"


@pytest.mark.parametrize(
    "text",
    [
        *("a b", 'say "x"', "a\nb", "a\x00b", "a=b", "a\\b", "tab\there", "\x7f", ""),
        *("a\x1b[2J", "a\x9b2J", "a\u202eb", "a\u200fb", "a\u00a0b", "a\ufeff", "a\ud800"),
    ],
)
def test_text_that_would_break_the_line_is_quoted(text: str) -> None:
    """Any text stays on one line and can be read back."""
    written = line("read", key=text)
    assert written.isprintable()
    assert json.loads(written.removeprefix("read key=")) == text


@pytest.mark.parametrize("text", ["a/b.parquet", "//..", "ü", "{x}"])
def test_plain_text_is_not_quoted(text: str) -> None:
    """A key without spaces is not quoted."""
    assert line("read", key=text) == f"read key={text}"


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_unicode_line_ends_do_not_break_the_line(separator: str) -> None:
    """Everything that a terminal or ``splitlines`` takes for a line end is escaped."""
    assert len(line("read", key=f"a{separator}b").splitlines()) == 1


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1 KiB"),
        (123_904, "121 KiB"),
        (1536 * 1024, "1.5 MiB"),
        (10 * 1024**4, "10 TiB"),
        (2**63, "8388608 TiB"),
    ],
)
def test_bytes_are_written_for_people(count: int, said: str) -> None:
    """Two or three digits are enough to judge a size by."""
    assert human_bytes(count) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0s"), (59.6, "1m00s"), (250, "4m10s"), (7500, "2h05m"), (100_000, "1d03h")],
)
def test_times_are_written_for_people(seconds: float, said: str) -> None:
    """In the two largest units."""
    assert human_time(seconds) == said
