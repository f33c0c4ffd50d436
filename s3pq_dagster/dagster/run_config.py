"""The options of one run of a table: what a person sets in the launchpad or a file."""

import dagster as dg
from pydantic import Field


class LoadConfig(dg.Config):
    """Run config of a table's op."""

    full_refresh: bool = Field(
        default=False, description="Load the table anew and swap it in one transaction."
    )
    max_objects: int | None = Field(
        default=None, ge=1, description="Load at most this many objects, the oldest first."
    )
    retry_quarantined: bool = Field(
        default=False, description="Read quarantined objects again although they did not change."
    )
    allow_empty_listing: bool = Field(
        default=False, description="Let `mirror` remove every row when nothing is listed."
    )
    verify_footers: bool = Field(
        default=False,
        description="Let the check `rows_reconciled` read the footer of every loaded object again: "
        "one ranged request an object.",
    )
