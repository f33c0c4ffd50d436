"""The default code location, built from environment variables when it is imported."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import dagster as dg
import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own
from pydantic import ValidationError

from s3pq_dagster.dagster.discovery import LOGGER
from s3pq_dagster.dagster.factory import build_s3_parquet_definitions
from s3pq_dagster.dagster.io_managers import DEFAULT_DESTINATION
from s3pq_dagster.dagster.resource import S3ParquetResource
from s3pq_dagster.dagster.sensor_variables import SENSOR_VARIABLES, sensor_options
from s3pq_dagster.errors import ConfigurationError, S3ParquetError, one_line
from s3pq_dagster.layout.rules import PRESETS
from s3pq_dagster.spec import S3ParquetSpec

PREFIX = "S3PQ_"
DESTINATION = "S3PQ_DESTINATION"
_LISTS = ("tables", "skip_tables")
_REQUIRED = ("bucket", "region")


def definitions_from(environment: Mapping[str, str]) -> dg.Definitions:
    """Build definitions from ``S3PQ_*`` variables.

    Each field of :class:`S3ParquetSpec` has a variable, named in capitals. Lists are separated by
    commas; an empty variable counts as unset. ``S3PQ_DESTINATION`` is a destination URL.
    :data:`SENSOR_VARIABLES` are arguments of :func:`build_s3_parquet_definitions`.

    Raises:
        ConfigurationError: A variable is missing or unknown, or its value is not allowed.
        S3ParquetError: As :func:`build_s3_parquet_definitions`.
    """
    options = sensor_options(environment)
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
        source = S3ParquetResource(**fields)
    except ValidationError as error:
        raise ConfigurationError("; ".join(_phrases(error))) from error
    return build_s3_parquet_definitions(source, destination=destination, **options)


def _value(field: str, text: str) -> Any:
    if field in _LISTS:
        return [part.strip() for part in text.split(",") if part.strip()]
    return _layout(text) if field == "layout" and text not in PRESETS else text


def _layout(path: str) -> Any:
    """Read a layout from a YAML file.

    Raises:
        ConfigurationError: It cannot be read, or is no YAML.
    """
    preset_or_file = f"S3PQ_LAYOUT is a preset ({', '.join(PRESETS)}) or a YAML file; {path!r}"
    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{preset_or_file} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{preset_or_file} is no YAML: {one_line(str(error))}") from error
    if not isinstance(found, dict):
        raise ConfigurationError(f"{preset_or_file} has no `rules` or `unmatched` at its top")
    return found


def _phrases(error: ValidationError) -> list[str]:
    return [
        f"{PREFIX}{str(found['loc'][0]).upper()}: {_place(found['loc'])}"
        f"{found['msg'].removeprefix('Value error, ')}"
        for found in error.errors(include_input=False)
    ]


def _place(location: tuple[int | str, ...]) -> str:
    """Say where within a field a value is, such as ``rules.0.match``."""
    return "".join(f"{part}." for part in location[1:])[:-1] + ": " if location[1:] else ""


@contextmanager
def _shown_on_stderr() -> Iterator[None]:
    """Log discovery to stderr if no logging is set up yet, as on the command line."""
    log = dg.get_dagster_logger(LOGGER)
    if log.hasHandlers():
        yield
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.setLevel(logging.INFO)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


def _load() -> dg.Definitions:
    try:
        with _shown_on_stderr():
            return definitions_from(os.environ)
    except S3ParquetError as error:
        # Dagster prints a ClickException without a traceback, and as the code location's error.
        raise click.ClickException(f"{type(error).__name__}: {error}") from error


defs = _load()
