"""The definitions of several sources as those of one code location."""

import dagster as dg

from s3pq_dagster.dagster.claims import Claims, Maker
from s3pq_dagster.dagster.names import SOURCE_KEY
from s3pq_dagster.dagster.resource import S3ParquetResource, value_by_now


def merge_s3_parquet_definitions(*definitions: dg.Definitions) -> dg.Definitions:
    """Merge the definitions of several sources, and of what is beside them.

    It does what ``dagster.Definitions.merge`` does, and says of two sources that make the same
    which they are. What two sources load is one external asset, where ``source_assets`` are asked
    for.

    Args:
        definitions: Results of :func:`build_s3_parquet_definitions`, and any others.

    Raises:
        ConfigurationError: Two sources have no name, or the same one, or a table with the same
            asset key.
        dagster.DagsterInvariantViolationError: They differ in a resource of another key, in a
            logger or in the executor.
    """
    claims, merged = Claims(), []
    for number, each in enumerate(definitions, start=1):
        sources = _sources_of(each)
        loaded = " and ".join(map(_shown, sources)) or "no source"
        maker = Maker(f"definitions {number}", loaded)
        for source in sources:
            claims.add_name(maker, source[0])
        merged.append(claims.add_assets(maker, each))
    return dg.Definitions.merge(*merged)


def _sources_of(definitions: dg.Definitions) -> list[tuple[str | None, S3ParquetResource]]:
    """Return the sources that are bound under their own keys, with their names."""
    found = []
    for key, value in (definitions.resources or {}).items():
        base, _, name = key.partition("__")
        if isinstance(value, S3ParquetResource) and base == SOURCE_KEY:
            found.append((name or None, value))
    return found


def _shown(named_source: tuple[str | None, S3ParquetResource]) -> str:
    name, source = named_source
    place = f"s3://{value_by_now(source.bucket)}/{value_by_now(source.path_prefix)}"
    return place if name is None else f"{place} as {name!r}"
