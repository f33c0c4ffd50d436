"""What environment variables say of the sensor of the default code location."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from s3pq_dagster.errors import ConfigurationError

SENSOR_VARIABLES = {
    "S3PQ_RELOAD_FOR_NEW_TABLES": "reload_for_new_tables",
    "S3PQ_WEBSERVER_URL": "webserver_url",
}
"""Variables that are no fields of the spec, and the arguments of
:func:`build_s3_parquet_definitions` that they stand for."""


def sensor_options(environment: Mapping[str, str]) -> dict[str, Any]:
    """Read these variables; an empty one counts as unset.

    Raises:
        ConfigurationError: One that is a choice is neither true nor false.
    """
    given = {name: environment[name] for name in SENSOR_VARIABLES if environment.get(name)}
    return {SENSOR_VARIABLES[name]: _value(name, text) for name, text in given.items()}


def _value(name: str, text: str) -> str | bool:
    if name == "S3PQ_WEBSERVER_URL":
        return text
    try:
        return TypeAdapter(bool).validate_python(text)
    except ValidationError as error:
        raise ConfigurationError(f"{name} is `true` or `false`, got {text!r}") from error
