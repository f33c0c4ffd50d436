"""Which rule makes a table, and what of the rule its stored rows depend on."""

import hashlib
import json
import re
from collections.abc import Callable
from functools import lru_cache

from s3pq_dagster.layout.rules import TABLE, Layout, Rule
from s3pq_dagster.layout.template import HIVE, Capture, Literal, escaped, read_template
from s3pq_dagster.layout.value_types import TEXT

_ESCAPED = r"(?:[^{{}}*{also}]|\{{\{{|\}}\}}|\{{\*\}})+?"
_SEGMENT = _ESCAPED.format(also="/")
_ANY_TEXT = _ESCAPED.format(also="")
"""Match text that a template has as a literal, so that another capture is none."""


def rule_of(layout: Layout, pattern: str) -> Rule | None:
    """Return the rule whose table a pattern is; ``None`` where it is of the preset.

    Args:
        layout: The layout.
        pattern: A rule's template with each capture that names the table filled in, or the pattern
            that a preset makes of a folder.
    """
    found = (rule for rule in layout.rules if _filled(rule.match, *rule.named_by)(pattern))
    return next(found, None)


@lru_cache(maxsize=1000)
def _filled(template: str, *named_by: str) -> Callable[[str], object]:
    """Return what matches the patterns of a rule's tables."""
    parts = []
    for part in read_template(template).parts:
        if isinstance(part, Capture) and part.name in named_by:
            parts.append(_SEGMENT if part.type is None else _ANY_TEXT)
        else:
            text = escaped(part.text) if isinstance(part, Literal) else part.text
            parts.append(re.escape(text))
    return re.compile("".join(parts), re.DOTALL).fullmatch


def columns_hash(layout: Layout, pattern: str) -> str:
    """Hash what a table's keys give its rows: the columns, and the types of their values.

    Columns of ``key=value`` segments have any name, so that their declared types and the dropped
    names stand for them. A table whose keys have no such segment has the same rows whether its
    pattern has ``{hive}`` or not; so it has the same hash, unless a rule says more of them.

    Returns:
        16 characters; none where the keys make no column, or only ``key=value`` segments do, as
        text.
    """
    rule = rule_of(layout, pattern) or Rule(match=pattern)  # a preset drops and declares nothing
    facts = {"columns": _columns(rule), **_of_segments(rule)}
    told = {name: fact for name, fact in facts.items() if fact}
    return _short_hash(told) if told else ""


def _columns(rule: Rule) -> dict[str, str]:
    """Return the columns that a rule's captures make, and their types."""
    return {
        each.name: rule.type_of(each.name, each).name
        for each in rule.template.captures
        if each.name not in (TABLE, HIVE, *rule.drop)
    }


def _of_segments(rule: Rule) -> dict[str, object]:
    """Return what a rule says of the columns of ``key=value`` segments, beside that they are."""
    names = {each.name for each in rule.template.captures}
    if HIVE not in names:
        return {}
    types = {name: rule.type_of(name).name for name in rule.types if name not in names}
    declared = {n: kind for n, kind in types.items() if kind != TEXT.name and n not in rule.drop}
    return {"hive_types": declared, "hive_dropped": sorted({*rule.drop} - names)}


def _short_hash(facts: object) -> str:
    # It is stored, so it must not change with a release of any library.
    text = json.dumps(facts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
