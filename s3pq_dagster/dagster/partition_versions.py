"""The data versions of partitions: what the event log says is whole."""

import hashlib

import dagster as dg

from s3pq_dagster.dagster.metadata import DATA_VERSION_TAG


def partition_version(fingerprint: str, place: str | None) -> str:
    """Return the data version of a partition whose listed objects are all accounted for.

    Args:
        fingerprint: Of these objects.
        place: The destination's place, so that what another destination has does not count;
            ``None`` leaves it open.
    """
    # The event log finds tags of partitions in one query, and no metadata: so the place is here.
    where = "" if place is None else hashlib.sha256(place.encode()).hexdigest()[:8]
    return f"{fingerprint}-{where}"


def is_of_version(recorded: tuple[int, str] | None, version: str) -> bool:
    """Return whether what :func:`recorded_versions` found of a partition is of a version."""
    return recorded is not None and recorded[1].startswith(version)


def recorded_versions(
    instance: dg.DagsterInstance, asset: dg.AssetKey
) -> dict[str, tuple[int, str]]:
    """Return when each partition was last materialized or observed, and its data version.

    Returns:
        The event's number in the log, and the version, by partition.
    """
    found: dict[str, tuple[int, str]] = {}
    for kind in (
        dg.DagsterEventType.ASSET_MATERIALIZATION,
        dg.DagsterEventType.ASSET_OBSERVATION,
    ):
        tags = instance.event_log_storage.get_latest_tags_by_partition(
            asset, kind, [DATA_VERSION_TAG]
        )
        newest = instance.get_latest_storage_id_by_partition(asset, kind) if tags else {}
        for name, each in tags.items():
            told = newest.get(name, 0), each[DATA_VERSION_TAG]
            found[name] = max(found.get(name, told), told)
    return found
