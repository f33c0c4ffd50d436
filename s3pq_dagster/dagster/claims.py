"""Which source of a code location makes what, so that two do not make the same."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from s3pq_dagster.dagster.metadata import PREFIX, TABLE, URI
from s3pq_dagster.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Maker:
    """What makes definitions of a source, as an error names it."""

    place: str
    """Where it is; no two makers are in one place."""
    source: str
    """What it loads."""

    def __str__(self) -> str:
        return f"{self.place} ({self.source})"


@dataclass(slots=True)
class Claims:
    """What the sources of a code location make."""

    names: dict[str | None, Maker] = field(default_factory=dict)
    assets: dict[dg.AssetKey, Maker] = field(default_factory=dict)
    source_assets: dict[tuple[dg.AssetKey, str], Maker] = field(default_factory=dict)
    """External assets, by key and place; what two sources load is defined by the first of them."""

    def add_name(self, maker: Maker, name: str | None) -> None:
        """Note the name of a source.

        Raises:
            ConfigurationError: Another one has it.
        """
        other = self.names.setdefault(name, maker)
        if other.place != maker.place:
            found = "no `name`" if name is None else f"the `name` {name!r}"
            msg = (
                f"{other} and {maker} have {found}: give each another `name`, which is part of "
                f"the names of its ops, sensor and resources"
            )
            raise ConfigurationError(msg)

    def add_assets(self, maker: Maker, definitions: dg.Definitions) -> dg.Definitions:
        """Note the tables of a source, and what they are loaded from.

        Returns:
            The definitions, without external assets that another source defines, too.

        Raises:
            ConfigurationError: Another source has a table with the key of one of these.
        """
        assets = list(definitions.assets or [])
        for key in sorted(_tables(assets), key=dg.AssetKey.to_user_string):
            other = self.assets.setdefault(key, maker)
            if other.place != maker.place:
                msg = (
                    f"{other} and {maker} make the same asset {key.to_user_string()}: give one of "
                    f"them another key (`translation` in YAML, a translator in Python), or leave "
                    f"the table out with `skip_tables`"
                )
                raise ConfigurationError(msg)
        kept = [each for each in assets if self._is_first(maker, each)]
        return definitions if len(kept) == len(assets) else _with_assets(definitions, kept)

    def _is_first(self, maker: Maker, asset: object) -> bool:
        """Return whether an asset is no external one of ours that another source defines."""
        if not isinstance(asset, dg.AssetsDefinition):
            return True
        ours = [s for s in asset.specs if PREFIX in s.metadata and TABLE not in s.metadata]
        known = [(spec.key, str(spec.metadata.get(URI))) for spec in ours]
        return all(self.source_assets.setdefault(k, maker).place == maker.place for k in known)


def _tables(assets: Iterable[object]) -> set[dg.AssetKey]:
    return {
        spec.key
        for asset in assets
        if isinstance(asset, dg.AssetsDefinition)
        for spec in asset.specs
        if TABLE in spec.metadata
    }


def _with_assets(definitions: dg.Definitions, assets: list[Any]) -> dg.Definitions:
    return dg.Definitions(
        assets=assets,
        schedules=definitions.schedules,
        sensors=definitions.sensors,
        jobs=definitions.jobs,
        resources=definitions.resources,
        executor=definitions.executor,
        loggers=definitions.loggers,
        asset_checks=definitions.asset_checks,
        metadata=definitions.metadata,
        component_tree=definitions.component_tree,
    )
