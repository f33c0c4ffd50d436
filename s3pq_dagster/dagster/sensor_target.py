"""Which assets a sensor may ask for, as a selection that can be read."""

from collections.abc import Collection, Sequence
from typing import Any

import dagster as dg

from s3pq_dagster.dagster.metadata import SOURCE_TAG


def sensor_target(
    assets: Sequence[dg.AssetsDefinition], specs: Collection[dg.AssetSpec]
) -> dict[str, Any]:
    """Select the tables by the tag that they have in common: a list of 200 keys reads badly.

    Args:
        assets: The tables' assets.
        specs: Their specs.

    Returns:
        The argument of :func:`dagster.sensor` that says it; none where there are no tables.
    """
    if not specs:
        return {}
    sources = {spec.tags.get(SOURCE_TAG) for spec in specs}
    source = sources.pop() if len(sources) == 1 else None
    selected = (
        list(assets) if source is None else _AsItIs(dg.AssetSelection.tag(SOURCE_TAG, source))
    )
    # Dagster makes one job of a `target`, and a job has one definition of partitions. What an
    # `asset_selection` asks for runs in the job that all assets have.
    partitions = {spec.partitions_def for spec in specs} - {None}
    return {"target" if len(partitions) <= 1 else "asset_selection": selected}


class _AsItIs(dg.AssetSelection):
    """A selection that the UI shows as it is; Dagster makes a list of keys of one by a tag."""

    # Dagster 1.13 keeps only selections of everything, of groups and of keys as they are. Groups
    # would name assets of others, too, and 200 tables may have as many. If a release calls these
    # methods otherwise, the UI shows the keys again, and nothing else changes.

    def __init__(self, selection: dg.AssetSelection) -> None:
        self._selection = selection

    def resolve_inner(self, asset_graph: Any, allow_missing: bool) -> Any:  # noqa: FBT001 - Dagster's
        """Return the keys of the assets that it selects."""
        return self._selection.resolve(asset_graph, allow_missing=allow_missing)

    def to_serializable_asset_selection(self, asset_graph: Any) -> dg.AssetSelection:  # noqa: ARG002 - Dagster's
        """Return what is handed from the code location to webserver and daemon."""
        return self._selection

    def to_selection_str(self) -> str:
        """Return it as users write it."""
        return str(self._selection)
