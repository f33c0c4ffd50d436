"""Which component of a code location makes what, so that two do not make the same."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import dagster as dg

from s3pq_dagster.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Maker:
    """A component, as an error names it."""

    place: str
    """Where it is defined, below the project's definitions."""
    source: str
    """What it loads."""

    def __str__(self) -> str:
        return f"{self.place} ({self.source})"


@dataclass(slots=True)
class Claims:
    """What the components of one load of a code location make."""

    names: dict[str | None, Maker] = field(default_factory=dict)
    assets: dict[dg.AssetKey, Maker] = field(default_factory=dict)

    def add(self, maker: Maker, name: str | None, assets: Iterable[dg.AssetKey]) -> None:
        """Note what a component makes.

        Raises:
            ConfigurationError: Another component makes one of these assets, or has the same name.
        """
        other = self.names.setdefault(name, maker)
        if other.place != maker.place:
            found = "no `name`" if name is None else f"the `name` {name!r}"
            msg = (
                f"{other} and {maker} have {found}: give each another `name`, which is part of "
                f"the names of its ops, sensor and resources"
            )
            raise ConfigurationError(msg)
        for key in sorted(assets, key=dg.AssetKey.to_user_string):
            other = self.assets.setdefault(key, maker)
            if other.place != maker.place:
                msg = (
                    f"{other} and {maker} make the same asset {key.to_user_string()}: give one of "
                    f"them a `translation` with another key, or leave the table out with "
                    f"`skip_tables`"
                )
                raise ConfigurationError(msg)


_claims = WeakKeyDictionary[Any, Claims]()


def claims_of(context: dg.ComponentLoadContext) -> Claims:
    """Return the claims of the code location that is being loaded."""
    # The tree itself is a record, and equal to that of an earlier load of the same project.
    return _claims.setdefault(context.component_tree.state_tracker, Claims())


def maker_of(context: dg.ComponentLoadContext, source: str) -> Maker:
    """Return the component that is being loaded."""
    return Maker(context.component_loc.get_display_key(context.defs_module_path), source)
