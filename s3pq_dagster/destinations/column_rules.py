"""Refuses columns that a destination cannot store unchanged, and columns that do not exist."""

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
    """Refuse a schema that a destination would change or fail on, before anything is written.

    Args:
        schema: The schema to be written.
        key: Key of the object it comes from, for the error.
        destination: Name of the destination, for the error.
        unusable: Returns why a name of a column or nested field cannot be stored ("empty or …"), or
            ``None``.
        unsupported: Returns why a type cannot be stored ("which …", "whose …"), or ``None``. Called
            for a nested type first, then for the types in it.
        problems: Further problems to report, beyond names and types of single columns.

    Raises:
        UnsupportedSchemaError: A column is refused. The error names every such column, the reason,
            and what to do.
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
    """Pair each name with the first one that differs from it only by case."""
    first: dict[bytes, str] = {}
    pairs = [(first.setdefault(schemas.folded(name), name), name) for name in names]
    return [(one, other) for one, other in pairs if one != other]


def check_chosen(table: str, asked: Sequence[str], there: Sequence[str]) -> None:
    """Refuse to read columns that the table does not have.

    An engine might find something else by such a name, a pseudo-column for example.

    Raises:
        DestinationError: A column is missing. The error names the missing and the existing ones.
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
    """Describe the first unusable name, of the column or of a field nested in it."""
    if reason := unusable(field.name):
        return [f"has a name {field.name!r} in it, {reason}"]
    return next(filter(None, (_name_reasons(f, unusable) for f in _inner(field.type))), [])


def _inner(kind: pa.DataType) -> list[pa.Field]:
    """List the fields of a nested type.

    The fields of lists and maps are renamed to ``item``: no user chose their names.
    """
    if not pa.types.is_nested(kind):
        return []
    fields = [kind.field(index) for index in range(kind.num_fields)]
    return fields if pa.types.is_struct(kind) else [field.with_name("item") for field in fields]


def _reason(kind: pa.DataType, unsupported: Callable[[pa.DataType], str | None]) -> str | None:
    if reason := unsupported(kind):
        return reason
    return next(filter(None, (_reason(f.type, unsupported) for f in _inner(kind))), None)
