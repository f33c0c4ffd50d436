"""A table of a real bucket that the contract's tests load into a destination."""

import logging
from typing import Any

from s3pq_dagster.destinations.protocol import Destination
from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.loading.key_ranges import KeyRange
from s3pq_dagster.loading.plan import LoadOptions, LoadPlan
from s3pq_dagster.loading.reload import reloading
from s3pq_dagster.loading.report import LoadReport
from s3pq_dagster.loading.table_load import TableLoad
from s3pq_dagster.objects import Listing
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.unit.made import listed, opened, spec

_NONE = logging.getLogger(__name__)


def load(
    bucket: Bucket,
    destination: Destination,
    *,
    log: logging.Logger = _NONE,
    options: dict[str, Any] | None = None,
    listing: Listing | None = None,
    keys: KeyRange | None = None,
    run_id: str = "run",
    **fields: Any,
) -> LoadReport:
    """Load what is pending of the prefix ``t/``; with ``keys``, as one of several shards.

    A listing may be given that lacks some of its objects.
    """
    with opened(bucket) as store:
        made = TableLoad(
            plan=reloading(
                LoadPlan(
                    spec=spec(**(bucket.spec | fields)),
                    owner=owner(bucket),
                    listing=listed(store, "t/") if listing is None else listing,
                    options=LoadOptions(**(options or {})),
                )
            ),
            store=store,
            log=log,
            run_id=run_id,
        )
        return made.into(destination) if keys is None else made.shard_into(destination, keys)


def owner(bucket: Bucket) -> Owner:
    """Return the owner of the table ``t``."""
    return Owner("t", bucket.name, "t/")


def reasons(bucket: Bucket, destination: Destination) -> dict[str, str]:
    """Return the reason of each quarantined object."""
    frame = destination.state(owner(bucket)).ledger.frame
    return dict(frame.filter(frame["status"] == "quarantined").select("key", "reason").rows())
