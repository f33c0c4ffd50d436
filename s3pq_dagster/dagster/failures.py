"""What a load that failed leaves in the event log: why it failed, and under which conditions."""

import hashlib
import json
from functools import lru_cache
from importlib import metadata
from typing import Any

import dagster as dg

from s3pq_dagster.dagster.io_manager import S3ParquetIOManager
from s3pq_dagster.dagster.metadata import (
    AT_FAULT,
    DESTINATION,
    ERROR,
    FAILED_LISTING,
    FAILED_SETTINGS,
    LASTING,
    records,
)
from s3pq_dagster.dagster.sensor_decision import LastFailure
from s3pq_dagster.errors import S3ParquetError, one_line
from s3pq_dagster.spec import S3ParquetSpec

_PACKAGES = ("s3pq-dagster", "pyarrow", "duckdb", "deltalake", "pgpq", "psycopg")
"""With another release of these a table that failed may load."""


def failure_observation(
    asset: dg.AssetKey, error: S3ParquetError, *, listing: str | None, settings: str, place: str
) -> dg.AssetObservation:
    """Describe why a run of a table failed.

    It has no data version: what was loaded before is loaded still.

    Args:
        asset: The table's asset.
        error: Why it failed.
        listing: What was to be loaded, as the sensor names it; ``None`` if that was not known, or
            the run had options that the runs of the sensor have not.
        settings: What :func:`settings_digest` returned.
        place: The destination.
    """
    known = {} if listing is None else {FAILED_LISTING: listing}
    named = [{"key": key, "what": one_line(what)} for key, what in error.about()]
    return dg.AssetObservation(
        asset_key=asset,
        description=f"The run failed: {type(error).__name__}: {error}",
        metadata={
            ERROR: type(error).__name__,
            **records(AT_FAULT, named),
            LASTING: error.lasting and listing is not None,
            DESTINATION: place,
            FAILED_SETTINGS: settings,
            **known,
        },
    )


def named_listing(fingerprint: str, other_format: tuple[str, str] | None) -> str:
    """Name what of a listing decides whether a table fails.

    Where it is a table of another format that is all: its objects change all the time.

    Args:
        fingerprint: The fingerprint of its objects.
        other_format: Folder and format, if it is a table of another format.
    """
    return fingerprint if other_format is None else "{1} table in {0!r}".format(*other_format)


def read_failure(event: dg.AssetObservation) -> LastFailure | None:
    """Read what :func:`failure_observation` has written; ``None`` if it is anything else."""
    found = {name: value.value for name, value in event.metadata.items()}
    if ERROR not in found:
        return None
    conditions = str(found.get(FAILED_LISTING)), str(found.get(FAILED_SETTINGS))
    return LastFailure(str(found[ERROR]), found.get(LASTING) is True, *conditions)


def settings_digest(spec: S3ParquetSpec, io_manager: S3ParquetIOManager) -> str:
    """Hash everything but the objects that decides whether a table loads.

    Defaults are left out: some depend on the machine's memory, and the sensor may run on another
    machine than the runs.

    Args:
        spec: What is asked for the table, without environment variables.
        io_manager: The destination.
    """
    facts = [_given(spec), io_manager.table_options(), _releases()]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _given(spec: S3ParquetSpec) -> dict[str, Any]:
    """Return the fields of a spec that differ from their defaults."""
    fields = type(spec).model_fields
    values = {name: getattr(spec, name) for name in S3ParquetSpec.model_fields}
    return {name: value for name, value in values.items() if value != fields[name].default}


@lru_cache(maxsize=1)
def _releases() -> dict[str, str | None]:
    return {name: _release(name) for name in _PACKAGES}


def _release(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
