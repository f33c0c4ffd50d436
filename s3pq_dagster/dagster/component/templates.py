"""Values of YAML attributes: text stays as it is, templates are rendered."""

import re
from collections.abc import Mapping
from typing import Any

import dagster as dg

from s3pq_dagster.errors import ConfigurationError

_TEMPLATE = re.compile(r"\{\{|\{%")
_VARIABLE = re.compile(r"env(?:\.|\(\s*['\"])(\w+)")
_ONE_VARIABLE = re.compile(r"\s*\{\{\s*env(?:\.(\w+)|\(\s*['\"](\w+)['\"]\s*\))\s*\}\}\s*")


def rendered(context: dg.ResolutionContext, value: Any) -> Any:
    """Render the templates in a value, however deep; other text stays as it is.

    Dagster renders every text, and ``"2024"`` becomes a number by it.

    Raises:
        ConfigurationError: Part of a longer template is a variable that is not set.
    """
    if isinstance(value, Mapping):
        return {key: rendered(context.at_path(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [rendered(context.at_path(i), inner) for i, inner in enumerate(value)]
    return context.resolve_value(value) if is_template(value) else value


def is_template(value: object) -> bool:
    """Return whether a value is text that is rendered."""
    return isinstance(value, str) and _TEMPLATE.search(value) is not None


def required(field: str, given: object, found: Any) -> Any:
    """Return a rendered value that has to be there.

    Raises:
        ConfigurationError: It is none, because a variable is not set.
    """
    if found is None and is_template(given):
        named = " and ".join(_VARIABLE.findall(str(given))) or "of the template"
        msg = f"{field}: the environment variable {named} is not set: set it where this loads"
        raise ConfigurationError(msg)
    return found


def variable(value: object) -> str | None:
    """Return the name of the environment variable that a template consists of, if it does."""
    found = _ONE_VARIABLE.fullmatch(value) if isinstance(value, str) else None
    return None if found is None else found[1] or found[2]
