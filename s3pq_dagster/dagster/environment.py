"""What environment variables configure: the bucket, and where its tables go."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own
from pydantic import ValidationError

from s3pq_dagster.dagster.io_managers import DEFAULT_DESTINATION
from s3pq_dagster.dagster.resource import S3ParquetResource
from s3pq_dagster.dagster.sensor_variables import SENSOR_VARIABLES
from s3pq_dagster.errors import ConfigurationError, one_line
from s3pq_dagster.layout.rules import PRESETS
from s3pq_dagster.spec import S3ParquetSpec

PREFIX = "S3PQ_"
DESTINATION = "S3PQ_DESTINATION"
_LISTS = ("tables", "skip_tables")
_REQUIRED = ("bucket", "region")


def configured(environment: Mapping[str, str]) -> tuple[S3ParquetResource, str]:
    """Read ``S3PQ_*`` variables; nothing is opened.

    Each field of :class:`S3ParquetSpec` has a variable, named in capitals. Lists are separated by
    commas; an empty variable counts as unset. ``S3PQ_DESTINATION`` is a destination URL.
    :data:`SENSOR_VARIABLES` are left to who makes a sensor.

    Returns:
        The bucket, and the destination's URL. What comes from this process's own environment is
        an ``EnvVar``, since there may be a password in it.

    Raises:
        ConfigurationError: A variable is missing or unknown, or its value is not allowed.
    """
    given = {k: v for k, v in environment.items() if k.startswith(PREFIX) and v}
    given = {k: v for k, v in given.items() if k not in SENSOR_VARIABLES}
    destination = given.pop(DESTINATION, DEFAULT_DESTINATION)
    if os.environ.get(DESTINATION) == destination:
        destination = dg.EnvVar(DESTINATION)  # so that a password in it is not shown
    known = {PREFIX + name.upper(): name for name in S3ParquetSpec.model_fields}
    if unknown := sorted(set(given) - set(known)):
        all_known = ", ".join([*known, DESTINATION, *SENSOR_VARIABLES])
        msg = f"unknown variable {', '.join(unknown)}; known: {all_known}"
        raise ConfigurationError(msg)
    missing = [PREFIX + name.upper() for name in _REQUIRED if PREFIX + name.upper() not in given]
    if missing:
        msg = (
            f"{' and '.join(missing)} not set: set S3PQ_BUCKET and S3PQ_REGION to the bucket to "
            f"load and its region, as in S3PQ_BUCKET=lake S3PQ_REGION=eu-central-1 dagster dev"
        )
        raise ConfigurationError(msg)
    fields: dict[str, Any] = {known[k]: _value(known[k], v) for k, v in given.items()}
    try:
        return S3ParquetResource(**fields), destination
    except ValidationError as error:
        raise ConfigurationError("; ".join(_phrases(error))) from error


def read_layout(text: str, name: str) -> Any:
    """Return a layout: the preset of that name, or what a YAML file has.

    Args:
        text: The preset, or the file's path.
        name: What gave it, for the error.

    Raises:
        ConfigurationError: The file cannot be read, or is no YAML.
    """
    if text in PRESETS:
        return text
    preset_or_file = f"{name} is a preset ({', '.join(PRESETS)}) or a YAML file; {text!r}"
    try:
        found = yaml.safe_load(Path(text).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{preset_or_file} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{preset_or_file} is no YAML: {one_line(str(error))}") from error
    if not isinstance(found, dict):
        raise ConfigurationError(f"{preset_or_file} has no `rules` or `unmatched` at its top")
    return found


def _value(field: str, text: str) -> Any:
    if field in _LISTS:
        return [part.strip() for part in text.split(",") if part.strip()]
    return read_layout(text, "S3PQ_LAYOUT") if field == "layout" else text


def _phrases(error: ValidationError) -> list[str]:
    return [
        f"{PREFIX}{str(found['loc'][0]).upper()}: {place_in(found['loc'])}"
        f"{found['msg'].removeprefix('Value error, ')}"
        for found in error.errors(include_input=False)
    ]


def place_in(location: tuple[int | str, ...]) -> str:
    """Say where within a field a value is, such as ``rules.0.match``."""
    return "".join(f"{part}." for part in location[1:])[:-1] + ": " if location[1:] else ""
