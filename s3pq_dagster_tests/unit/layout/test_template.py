"""Templates of keys: what they match and capture, and what is wrong with others."""

import polars as pl
import pytest

from s3pq_dagster.layout.template import TemplateError, escaped, read_template


def captured(template: str, key: str) -> dict[str, str] | None:
    """Give what a template captures of a key; ``None`` if it does not match."""
    read = read_template(template)
    matches = pl.Series([key]).str.contains(read.regex).item()
    groups = pl.Series([key]).str.extract_groups(read.regex).item() if read.captures else {}
    names = [capture.name for capture in read.captures]
    return dict(zip(names, groups.values(), strict=True)) if matches else None


@pytest.mark.parametrize(
    ("template", "key", "found"),
    [
        ("a/x.parquet", "a/x.parquet", {}),
        ("a/x.parquet", "a/xyparquet", None),
        ("a/*.parquet", "a/b/x.parquet", None),
        ("a/*", "a/", {}),
        ("a/**/x", "a/x", {}),
        ("a/**/x", "a/b//c/x", {}),
        ("{t}_{day:date}.parquet", "a_b_2024-01-01.parquet", {"t": "a_b", "day": "2024-01-01"}),
        ("{t}_{day:date}", "a_2024-1-1", None),
        ("{a}-{b}", "x-y-z", {"a": "x", "b": "y-z"}),
        ("{a}/{b}", "/x", None),
        ("{dt:date(%Y/%m/%d)}/{hour:int}/*", "2024/01/14/-9/", {"dt": "2024/01/14", "hour": "-9"}),
        ("e/{hive}/*.parquet", "e/x.parquet", {"hive": ""}),
        ("e/{hive}/*.parquet", "e/a=b=c/=/x.parquet", None),
        ("e/{hive}/*.parquet", "e/a=b=c/d=/x.parquet", {"hive": "a=b=c/d=/"}),
        ("{{a}}{*}/*", "{a}*/x", {}),
        ("a\n/*", "a\n/\n", {}),
        ("{ok:bool}", "True", None),
        ("{at:timestamp}", "2024-01-14T09:00", {"at": "2024-01-14T09:00"}),
    ],
)
def test_a_template_matches_whole_keys(
    template: str, key: str, found: dict[str, str] | None
) -> None:
    """Captures take as few characters as fit, and only the shape of their type."""
    assert captured(template, key) == found


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("", "at its end: it is empty"),
        ("a{", r"at character 2 \('{'\): a brace without its pair"),
        ("a}b", r"at character 2 \('}b'\): a brace without its pair"),
        ("a/{1}", "'1' is no name"),
        ("a/{x}{x}", r"at character 6 \('{x}'\): 'x' is captured twice"),
        ("a/{hive}x", "takes whole segments"),
        ("a{hive}/x", "must begin a segment"),
        ("a/**x", "takes whole segments"),
        ("a/{hive:int}/x", "types of {hive} in `types`"),
        ("{x:number}", "'number' is no type of a key column; there are text, int, bool, date"),
        ("{x:date(%m)}", "has no year"),
        ("{x:date(%Y-%B)}", "has %B; there are %Y"),
    ],
)
def test_what_is_wrong_with_a_template_is_pointed_at(template: str, said: str) -> None:
    """The message has the template, the place and the reason."""
    with pytest.raises(TemplateError, match=said) as raised:
        read_template(template)
    assert repr(template) in str(raised.value)


@pytest.mark.parametrize("text", ["a", "{a}", "*", "{*}", "{{", "a*{b}}c", "ü\n\0"])
def test_escaped_text_is_a_literal(text: str) -> None:
    """A key as a template matches itself and nothing else."""
    template = read_template(escaped(text))
    assert template.prefix == text
    assert template.text == escaped(text)
    assert captured(escaped(text), text) == {}


def test_captures_can_be_filled_in() -> None:
    """What a table's name is made of becomes a literal, whatever its characters."""
    template = read_template("a/{s}.{table}/{day:date}/{hive}/*")
    filled = template.filled({"s": "x{", "table": "*"})
    assert filled.text == "a/x{{.{*}/{day:date}/{hive}/*"
    assert filled.prefix == "a/x{.*/"
    assert read_template(filled.text) == filled


def test_a_hostile_template_takes_no_longer_than_its_length() -> None:
    """Thirty captures of a key that does not match would take for ever with backtracking."""
    template = "".join(f"{{c{number}}}" for number in range(30)) + "!"
    assert captured(template, "a" * 1024) is None
