"""JSON schemas of attributes, by which `dg check yaml` names the line of a mistake."""

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, Field, create_model
from pydantic.fields import FieldInfo

from s3pq_dagster.dagster.component.destination import KINDS
from s3pq_dagster.spec import BOUNDS, FILETYPES, SCHEMA_MODES, WRITE_MODES

Schema = dict[str, Any]

_CHOICES = {
    "filetype": FILETYPES,
    "write_mode": WRITE_MODES,
    "schema_mode": SCHEMA_MODES,
    "granularity": ("table", "all"),
    "group_by": ("bucket", "first_segment"),
    "executor": ("in_process", "location"),
}
# Alternatives (`anyOf`) would say only that none of them fits. Conditions name what does not.
_IS_NO_TEMPLATE = {"type": "string", "not": {"pattern": r"\{[{%]"}}


def rule_of(name: str) -> Schema | None:
    """Return what holds for an attribute beyond its type."""
    if name in BOUNDS:
        return _between(*BOUNDS[name])
    if name == "concurrency":
        return {"not": {"const": 0}}
    return one_of(_CHOICES[name]) if name in _CHOICES else None


def _between(least: float, most: float | None) -> Schema:
    return {"minimum": least} | ({} if most is None else {"maximum": most})


def one_of(choices: tuple[str, ...]) -> Schema:
    """Return a schema of text that is one of these, or a template."""
    return {"if": _IS_NO_TEMPLATE, "then": {"enum": list(choices)}}


def nested(model: type[BaseModel]) -> Schema:
    """Return a schema of an attribute that has attributes of its own."""
    return {"if": {"type": "object"}, "then": _properties(model.model_fields)}


def of_destination() -> Schema:
    """Return a schema of the fields of all IO managers, each under its ``type``."""
    has_type = {"required": ["type"], "properties": {"type": one_of(tuple(KINDS))}}
    kinds = [_of_kind(kind) for kind in KINDS]
    return {"allOf": [{"if": {"type": "object"}, "then": has_type}, *kinds]}


def _of_kind(kind: str) -> Schema:
    is_kind = {"type": "object", "required": ["type"], "properties": {"type": {"const": kind}}}
    return {"if": is_kind, "then": _properties(KINDS[kind].model_fields, type=kind)}


def _properties(fields: Mapping[str, FieldInfo], **constants: str) -> Schema:
    """Return a schema of an object; each field may be a template, too."""
    known: dict[str, Any] = {
        name: ((field.annotation or Any) | str, Field(description=field.description))
        for name, field in fields.items()
    }
    found = create_model("Fields", **known).model_json_schema()["properties"]
    for name, field in fields.items():
        found[name] |= _choices(field.annotation) | _bounds(field)
    return {
        "properties": found | {name: {"const": text} for name, text in constants.items()},
        "required": [name for name, field in fields.items() if field.is_required()],
        "additionalProperties": False,
    }


def _choices(annotation: Any) -> Schema:
    return one_of(get_args(annotation)) if get_origin(annotation) is Literal else {}


def _bounds(field: FieldInfo) -> Schema:
    """Return what pydantic's constraints say; beside alternatives, so that they are named."""
    names = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
    return {
        names[name]: getattr(constraint, name)
        for constraint in field.metadata
        for name in names
        if hasattr(constraint, name)
    }
