"""The options of one run of a table: what a person sets in the launchpad or a file."""

from collections.abc import Mapping

import dagster as dg
from pydantic import Field

from s3pq_dagster.dagster.metadata import FULL_REFRESH_TAG
from s3pq_dagster.loading.plan import LoadOptions


class LoadConfig(dg.Config):
    """Run config of a table's op."""

    full_refresh: bool = Field(
        default=False,
        description="Load the whole table again and replace it in one transaction.",
    )
    max_objects: int | None = Field(
        default=None, ge=1, description="Load at most this many objects, the oldest first."
    )
    retry_quarantined: bool = Field(
        default=False,
        description="Read quarantined objects again, even if they have not changed.",
    )
    allow_empty_listing: bool = Field(
        default=False, description="Let `mirror` remove every row when nothing is listed."
    )
    allow_unlisted: bool = Field(
        default=False,
        description="Let a full refresh drop rows of objects that are still in the bucket but are "
        "not listed, as after a narrower `path_prefix`.",
    )
    verify_footers: bool = Field(
        default=False,
        description="Let the check `rows_reconciled` read the footer of every loaded object again: "
        "one ranged request for each object.",
    )

    def options(self, run_tags: Mapping[str, str]) -> LoadOptions:
        """Return the options of a load; the run's tags can ask for a full refresh too."""
        is_tagged = run_tags.get(FULL_REFRESH_TAG, "").lower() == "true"
        return LoadOptions(
            full_refresh=self.full_refresh or is_tagged,
            max_objects=self.max_objects,
            retry_quarantined=self.retry_quarantined,
            allow_empty_listing=self.allow_empty_listing,
            allow_unlisted=self.allow_unlisted,
        )
