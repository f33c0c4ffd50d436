"""What a rule and a layout may say."""

from typing import Any

import pytest
from pydantic import ValidationError

from s3pq_dagster.layout.rules import Layout, Rule


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"match": "a/{"}, r"template 'a/{', at character 3"),
        ({"match": "a/*", "types": {"x": "int"}}, "types names 'x', which 'a/.' does not capture"),
        ({"match": "a/{x}", "drop": ["y"]}, "drop names 'y'.*; it captures 'x'"),
        ({"match": "a/{x:int}", "types": {"x": "int"}}, "'x' has a type in `match` and in `types`"),
        ({"match": "a/{hive}/*", "types": {"x": "long"}}, "types of 'x': 'long' is no type"),
        ({"match": "a/{x}", "table": "{y}"}, "table '{y}' names 'y', which 'a/{x}' does not"),
        ({"match": "a/{x}", "table": "b*"}, "cannot have wildcards"),
        ({"match": "a/{hive}/*", "table": "{hive}"}, "cannot begin|must follow|whole segments"),
        ({"match": "a/*", "tabel": "b"}, "tabel"),
        ({"match": "a/*", "schema_mode": "loose"}, "'strict', 'evolve' or 'rescue'"),
        ({"match": "a/*", "write_mode": "mirrored"}, "'append', 'replace' or 'mirror'"),
    ],
)
def test_a_rule_that_cannot_be_is_an_error_at_once(fields: dict[str, Any], said: str) -> None:
    """The message says what is wrong, and what is captured."""
    with pytest.raises(ValidationError, match=said):
        Rule(**fields)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("hiv", "layout 'hiv' is no preset; there are hive, dated, prefix"),
        ({"rules": [], "unmatched": "drop"}, "unmatched"),
        ({"rulez": []}, "rulez"),
        (5, "Layout"),
    ],
)
def test_a_layout_that_cannot_be_is_an_error_at_once(given: Any, said: str) -> None:
    """Presets are named, and so are the fields."""
    with pytest.raises(ValueError, match=said):
        Layout.of(given)


def test_a_name_is_made_of_captures_or_of_what_comes_before_them() -> None:
    """Without a template for the name it is ``{table}``, or the text before the first capture."""
    assert Rule(match="a/{table}/{x}").name_of({"table": "t"}) == "t"
    assert Rule(match="a/b/{hive}/*").name_of({}) == "a/b/"
    rule = Rule(match="d/{s}/{table}/*", table="{s}-{table}")
    assert rule.named_by == ["s", "table"]
    assert rule.name_of({"s": "{x", "table": "*"}) == "{x-*"
