"""The attribute `destination`: a URL, or the fields of an IO manager."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from pydantic import ValidationError

from s3pq_dagster.dagster.component.faults import faults_of
from s3pq_dagster.dagster.component.templates import rendered, required, variable
from s3pq_dagster.dagster.io_manager import S3ParquetIOManager
from s3pq_dagster.dagster.io_managers import (
    S3ParquetDeltaIOManager,
    S3ParquetDuckDBIOManager,
    S3ParquetParquetIOManager,
    S3ParquetPostgresIOManager,
)
from s3pq_dagster.errors import ConfigurationError

KINDS: dict[str, type[S3ParquetIOManager]] = {
    "delta": S3ParquetDeltaIOManager,
    "duckdb": S3ParquetDuckDBIOManager,
    "parquet": S3ParquetParquetIOManager,
    "postgres": S3ParquetPostgresIOManager,
}
"""The IO manager of each ``type``."""


def resolve_destination(context: dg.ResolutionContext, given: Any) -> S3ParquetIOManager | str:
    """Return the URL, or build the IO manager, that the attribute describes.

    A template that is one environment variable stays a reference to it, so that nothing shows a
    password in it. What is wrong with a URL is told when the definitions are built: an error from
    here is shown with the lines of the file around it.

    Raises:
        ConfigurationError: It cannot be used.
    """
    if not isinstance(given, Mapping):
        url: S3ParquetIOManager | str = _value(context, "destination", given)
        return url
    fields = {
        name: _value(context.at_path(name), f"destination.{name}", value)
        for name, value in given.items()
    }
    kind = fields.pop("type", None)
    if kind not in KINDS:
        msg = f"destination: type is one of {', '.join(KINDS)}, got {kind!r}"
        raise ConfigurationError(msg)
    return _io_manager(str(kind), fields)


def _value(context: dg.ResolutionContext, field: str, given: Any) -> Any:
    if (name := variable(given)) is not None:
        reference = dg.EnvVar(name)
        if reference.get_value() is None:
            required(field, given, None)
        return reference
    return required(field, given, rendered(context, given))


def _io_manager(kind: str, fields: dict[str, Any]) -> S3ParquetIOManager:
    manager = KINDS[kind]
    if unknown := sorted(fields.keys() - manager.model_fields.keys()):
        known = ", ".join(manager.model_fields)
        msg = f"destination: {kind} has no {', '.join(unknown)}; it has {known}"
        raise ConfigurationError(msg)
    required_fields = (name for name, field in manager.model_fields.items() if field.is_required())
    if missing := [name for name in required_fields if fields.get(name) is None]:
        raise ConfigurationError(f"destination: {kind} needs {', '.join(missing)}")
    try:
        return manager(**fields)
    except ValidationError as error:
        raise faults_of("destination", error) from None
