"""Holds the rows of one object against the values that a destination can store."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.errors import RefusedObjectError, UnsupportedSchemaError, one_line

Rule = Callable[[pa.Array], str | None]
"""Returns why a destination cannot hold a value of a column ("it has …"), or ``None``."""
_MOST_CHARACTERS = 80
"""Characters that are shown of a value."""
_MOST_OF_CAUSE = 200
_SCHEMAS_KNOWN = 4
_BEYOND = "<value out of range"
"""What Arrow writes for a moment beyond the year 32767."""


class ValueRules:
    """The rules of one destination, by type.

    A rule is asked before anything is written, while rows still belong to one object. So it is
    quick where nothing is wrong; only a column that is refused is searched for the value.
    """

    def __init__(
        self,
        destination: str,
        check_schema: Callable[[pa.Schema, str | None], None],
        rule_of: Callable[[pa.Field], Rule | None],
    ) -> None:
        """Name the rules.

        Args:
            destination: Name of the destination, for the reason.
            check_schema: Raises for types that the destination refuses.
            rule_of: Returns the rule for a column; ``None`` if every value of its type can be
                stored.
        """
        self._destination = destination
        self._check_schema = check_schema
        self._rule_of = rule_of
        self._known: list[tuple[pa.Schema, dict[str, tuple[pa.DataType, Rule]]]] = []
        """The rules of the last schemas: an object's columns, and those of its key, are most often
        the next object's too."""

    def check(self, batch: pa.RecordBatch, key: str) -> None:
        """Hold rows of one object against the rules.

        Args:
            batch: Rows in the columns and types of the object's file.
            key: Key of the object.

        Raises:
            RefusedObjectError: The destination cannot hold a value; the reason names column, value
                and cause.
        """
        for name, (kind, rule) in self._rules(batch.schema, key).items():
            column = schemas.conform_column(batch.column(name), kind)
            if (found := rule(column)) is not None:
                raise RefusedObjectError(key, self._reason(name, column, rule, found))

    def _rules(self, schema: pa.Schema, key: str) -> dict[str, tuple[pa.DataType, Rule]]:
        for known, rules in self._known:
            if known.equals(schema):
                return rules
        plain = schemas.canonical(schema)
        rules = {}
        if self._takes(plain, key):
            made = ((field, self._rule_of(field)) for field in plain)
            rules = {field.name: (field.type, rule) for field, rule in made if rule is not None}
        self._known = [(schema, rules), *self._known[: _SCHEMAS_KNOWN - 1]]
        return rules

    def _takes(self, schema: pa.Schema, key: str) -> bool:
        """Return whether the columns themselves can be stored.

        If not, that is an error of the table, not of one object: it is raised before a row is
        written.
        """
        if schemas.duplicates(schema.names):
            return False
        try:
            self._check_schema(schema, key)
        except UnsupportedSchemaError:
            return False
        return True

    def _reason(self, name: str, column: pa.Array, rule: Rule, found: str) -> str:
        row, found = _first_refused(column, rule, found)
        shown = _shown(column[row])
        return (
            f"column {name!r} has the value {shown}, which {self._destination} cannot hold "
            f"unchanged: {one_line(found)[:_MOST_OF_CAUSE]}"
        )


def refused_by_cast(kind: pa.DataType) -> Rule:
    """Make the rule for values that are cast to another type when they are written."""

    def rule(column: pa.Array) -> str | None:
        try:
            column.cast(kind)
        except pa.ArrowNotImplementedError:
            return None  # writing will say so, of the whole table
        except pa.ArrowInvalid as error:
            return str(error)
        return None

    return rule


def any_of(*rules: Rule | None) -> Rule | None:
    """Join rules into one that returns the first reason; ``None`` if there is no rule."""
    there = [rule for rule in rules if rule is not None]
    if len(there) < 2:  # noqa: PLR2004
        return there[0] if there else None
    return lambda column: next(filter(None, (rule(column) for rule in there)), None)


def within(rule_of: Callable[[pa.DataType], Rule | None], kind: pa.DataType) -> Rule | None:
    """Make one rule of those for a type and for the types nested in it.

    Args:
        rule_of: Returns the rule for the values of one type, not looking at types nested in it.
        kind: The type.
    """
    inner = [
        _of_child(index, found)
        for index in range(kind.num_fields if pa.types.is_nested(kind) else 0)
        if (found := within(rule_of, kind.field(index).type)) is not None
    ]
    return any_of(rule_of(kind), *inner)


def entries_of(maps: pa.Array) -> tuple[np.ndarray[Any, np.dtype[np.int32]], pa.Array]:
    """Return where each map begins and ends among the entries, and the entries, as structs.

    Maps that are null are left out, and the last end is the number of entries. Extension types are
    replaced by what they are stored as.
    """
    maps = _as_stored(maps)
    maps = maps.drop_null() if maps.null_count else maps
    if not len(maps):
        return np.zeros(1, np.int32), maps.values.slice(0, 0)
    ends = maps.offsets.to_numpy()
    return ends - ends[0], maps.values.slice(ends[0], ends[-1] - ends[0])


def _of_child(index: int, rule: Rule) -> Rule:
    """Apply a rule to the values in a nested column, as far as they are used."""

    def of_values(column: pa.Array) -> str | None:
        return rule(_children(column)[index])

    return of_values


def _children(column: pa.Array) -> list[pa.Array]:
    """Return the arrays nested in a column, without values of rows that are null or sliced off."""
    column = _as_stored(column)
    if pa.types.is_struct(column.type):
        return list(column.flatten())
    if pa.types.is_map(column.type):
        return [entries_of(column)[1]]
    return [column.flatten()]


def _as_stored(column: pa.Array) -> pa.Array:
    """Give a column the type that it is stored as: Arrow 26 cannot make extension types anew."""
    kind = schemas.storage_type(column.type)
    return column if column.type == kind else schemas.retyped(column, kind)


def _first_refused(column: pa.Array, rule: Rule, found: str) -> tuple[int, str]:
    """Find the row of the first value that a rule refuses, and what the rule says of it alone."""
    start, end = 0, len(column)
    while end - start > 1:
        middle = (start + end) // 2
        earlier = rule(column.slice(start, middle - start))
        if earlier is not None:
            end, found = middle, earlier
            continue
        start = middle
    return start, rule(column.slice(start, 1)) or found


def _shown(value: pa.Scalar) -> str:
    """Write a value as text, cut short."""
    text = next(_texts(value))
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"


def _texts(value: pa.Scalar) -> Iterator[str]:
    """Write a value in Python's words or, as far as Python has no such value, in Arrow's."""
    for write in (_in_python, _as_text, _by_parts, _in_arrow):
        try:
            yield one_line(write(value))
        except (ValueError, OverflowError, TypeError, pa.ArrowException):
            continue
    yield "…"


def _in_python(value: pa.Scalar) -> str:
    if value.type == pa.time64("ns") and value.is_valid:
        raise TypeError(value.type)  # Python's times have no nanoseconds
    return repr(value.as_py())


def _as_text(value: pa.Scalar) -> str:
    # pyarrow 26 casts a moment that it cannot write to the text of another date.
    if pa.types.is_temporal(value.type) and _BEYOND in _in_arrow(value):
        raise ValueError(value.type)
    return str(value.cast(pa.string()))


def _by_parts(value: pa.Scalar) -> str:
    """Write a value of which a part may be one that Python does not have."""
    if isinstance(value, pa.StructScalar):
        parts = (f"{name!r}: {next(_texts(part))}" for name, part in value.items())
        return f"{{{', '.join(parts)}}}"
    if isinstance(value, pa.ListScalar):
        return f"[{', '.join(next(_texts(part)) for part in value)}]"
    raise TypeError(value.type)


def _in_arrow(value: pa.Scalar) -> str:
    return " ".join(pa.array([value], value.type).to_string().split())
