"""Refusing columns that a destination would not keep as they are."""

from collections.abc import Callable, Iterable, Sequence

import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.errors import DestinationError, UnsupportedSchemaError, one_line


def check_columns(
    schema: pa.Schema,
    key: str | None,
    *,
    destination: str,
    unusable: Callable[[str], str | None],
    unsupported: Callable[[pa.DataType], str | None],
    problems: Sequence[str] = (),
) -> None:
    """Refuse what a destination would change, cut or fail on, before anything is written.

    Args:
        schema: What is to be written.
        key: The object it comes from, for the error.
        destination: Whose rules these are.
        unusable: Says of a name, of a column or a field within, why it cannot be held: "which …".
        unsupported: Says of a type, whatever its depth, why it cannot be held: "which …". It is
            asked for nested types and then for what they hold.
        problems: What is wrong beyond names and types of single columns.

    Raises:
        UnsupportedSchemaError: It names the columns, why, and what to do.
    """
    twins = case_twins(schema.names)
    found = [f"columns {one!r} and {other!r} differ only by case" for one, other in twins]
    for field in schema:
        found += [f"column {field.name!r} {reason}" for reason in _name_reasons(field, unusable)]
        if reason := _reason(field.type, unsupported):
            kind = one_line(str(field.type))
            found.append(f"column {field.name!r} has type {kind}, {reason}")
    if found := [*problems, *found]:
        msg = (
            f"{destination} cannot hold the columns of object {key!r} unchanged: "
            f"{'; '.join(found)}. Rename or convert them in every object of the table, or leave "
            f"the table out with `skip_tables`."
        )
        raise UnsupportedSchemaError(msg)


def case_twins(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pair each name with the first that differs from it by case only."""
    first: dict[bytes, str] = {}
    pairs = [(first.setdefault(schemas.folded(name), name), name) for name in names]
    return [(one, other) for one, other in pairs if one != other]


def check_chosen(table: str, asked: Sequence[str], there: Sequence[str]) -> None:
    """Refuse to read what is no column: engines have names for other things too.

    Raises:
        DestinationError: It names what is missing and what is there.
    """
    known = {schemas.folded(name) for name in there}
    missing = [name for name in asked if schemas.folded(name) not in known]
    if missing:
        msg = (
            f"table {table!r} has no column {', '.join(map(repr, missing))}; its columns are "
            f"{', '.join(map(repr, there))}"
        )
        raise DestinationError(msg)


def _name_reasons(field: pa.Field, unusable: Callable[[str], str | None]) -> list[str]:
    """Say what is wrong with the first name, of the column or a field within, that is unusable."""
    if reason := unusable(field.name):
        return [f"has a name {field.name!r} in it, {reason}"]
    return next(filter(None, (_name_reasons(f, unusable) for f in _inner(field.type))), [])


def _inner(kind: pa.DataType) -> list[pa.Field]:
    """Give the fields within a type; those of lists and maps have no name of the user's."""
    if not pa.types.is_nested(kind):
        return []
    fields = [kind.field(index) for index in range(kind.num_fields)]
    return fields if pa.types.is_struct(kind) else [field.with_name("item") for field in fields]


def _reason(kind: pa.DataType, unsupported: Callable[[pa.DataType], str | None]) -> str | None:
    if reason := unsupported(kind):
        return reason
    return next(filter(None, (_reason(f.type, unsupported) for f in _inner(kind))), None)
