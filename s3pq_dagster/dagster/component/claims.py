"""Which component of a code location makes what."""

from typing import Any
from weakref import WeakKeyDictionary

import dagster as dg

from s3pq_dagster.dagster.claims import Claims, Maker

_claims = WeakKeyDictionary[Any, Claims]()


def claims_of(context: dg.ComponentLoadContext) -> Claims:
    """Return the claims of the code location that is being loaded."""
    # The tree itself is a record, and equal to that of an earlier load of the same project.
    return _claims.setdefault(context.component_tree.state_tracker, Claims())


def maker_of(context: dg.ComponentLoadContext, source: str) -> Maker:
    """Return the component that is being loaded."""
    return Maker(context.component_loc.get_display_key(context.defs_module_path), source)
