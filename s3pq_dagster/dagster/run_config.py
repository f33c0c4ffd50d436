"""The options of one run of a table: what a person sets in the launchpad or a file."""

from collections.abc import Mapping

import dagster as dg
from pydantic import Field

from s3pq_dagster.dagster.metadata import FULL_REFRESH_TAG
from s3pq_dagster.errors import ConfigurationError
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
    reload: list[str] = Field(
        default=[],
        description="Read these objects again and replace their rows in one transaction; nothing "
        "else is loaded. Patterns of whole keys, such as `orders/2024-01-*`.",
    )
    verify_footers: bool = Field(
        default=False,
        description="Let the check `rows_reconciled` read the footer of every loaded object again: "
        "one ranged request for each object.",
    )

    def options(self, run_tags: Mapping[str, str]) -> LoadOptions:
        """Return the options of a load; the run's tags can ask for a full refresh too.

        Raises:
            ConfigurationError: They ask for a full refresh and for a reload.
        """
        is_tagged = run_tags.get(FULL_REFRESH_TAG, "").lower() == "true"
        full_refresh = self.full_refresh or is_tagged
        if full_refresh and self.reload:
            msg = (
                "the run asks for full_refresh, which loads the whole table again, and for reload, "
                "which loads some of its objects again: leave out one of them"
            )
            raise ConfigurationError(msg)
        return LoadOptions(
            full_refresh=full_refresh,
            reload=tuple(self.reload),
            max_objects=self.max_objects,
            retry_quarantined=self.retry_quarantined,
            allow_empty_listing=self.allow_empty_listing,
            allow_unlisted=self.allow_unlisted,
        )
