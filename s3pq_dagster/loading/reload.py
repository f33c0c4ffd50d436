"""Which objects a load is limited to, where a person names some of them."""

import fnmatch
from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from s3pq_dagster.errors import NothingToReloadError
from s3pq_dagster.loading.part import ChosenObjects, Limit
from s3pq_dagster.loading.plan import LoadPlan
from s3pq_dagster.objects import Listing


def reloading(plan: LoadPlan) -> LoadPlan:
    """Limit a plan to the objects that its option ``reload`` names, if any.

    Raises:
        NothingToReloadError: A pattern takes no listed object.
    """
    if not plan.options.reload:
        return plan
    keys, idle = _matching(plan.options.reload, plan.listing)
    if idle:
        example = next(iter(plan.listing.frame["key"]), "")
        raise NothingToReloadError(plan.owner.table, idle, len(plan.listing), example)
    return replace(plan, part=ChosenObjects(keys))


def within(plan: LoadPlan, part: Limit) -> LoadPlan:
    """Limit a plan to a part of the table, beside what it is limited to already."""
    if plan.part is None:
        return replace(plan, part=part)
    chosen = part.of_keys(plan.wanted.frame["key"].to_list())
    return replace(plan, part=ChosenObjects(pl.Series(chosen, dtype=pl.String)))


def _matching(patterns: Sequence[str], listing: Listing) -> tuple[pl.Series, list[str]]:
    """Find the listed objects that patterns take.

    Args:
        patterns: Of whole keys, as :mod:`fnmatch` has them; case counts.
        listing: The objects.

    Returns:
        Their keys, and the patterns that take none.
    """
    keys = listing.frame["key"].to_list()
    found = {pattern: fnmatch.filter(keys, pattern) for pattern in patterns}
    taken = {key for some in found.values() for key in some}
    idle = [pattern for pattern in patterns if not found[pattern]]
    return pl.Series("key", sorted(taken), pl.String), idle
