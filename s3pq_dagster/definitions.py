"""The default code location, built from environment variables when it is imported."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import click
import dagster as dg

from s3pq_dagster.dagster.discovery import LOGGER
from s3pq_dagster.dagster.environment import configured
from s3pq_dagster.dagster.factory import build_s3_parquet_definitions
from s3pq_dagster.dagster.sensor_variables import sensor_options
from s3pq_dagster.errors import S3ParquetError


def definitions_from(environment: Mapping[str, str]) -> dg.Definitions:
    """Build definitions from ``S3PQ_*`` variables, which :func:`configured` reads.

    :data:`SENSOR_VARIABLES` are arguments of :func:`build_s3_parquet_definitions`.

    Raises:
        ConfigurationError: A variable is missing or unknown, or its value is not allowed.
        S3ParquetError: As :func:`build_s3_parquet_definitions`.
    """
    options = sensor_options(environment)
    source, destination = configured(environment)
    return build_s3_parquet_definitions(source, destination=destination, **options)


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
