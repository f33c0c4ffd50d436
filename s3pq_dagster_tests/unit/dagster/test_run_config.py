"""The options of one run of a table."""

import pytest

from s3pq_dagster.dagster.run_config import LoadConfig
from s3pq_dagster.loading.plan import LoadOptions


def test_a_run_without_config_departs_from_nothing() -> None:
    """The defaults are those of a load without options."""
    assert LoadConfig().options({}) == LoadOptions()


def test_every_option_reaches_the_load() -> None:
    """Run config sets the options of the load."""
    config = LoadConfig(
        full_refresh=True,
        max_objects=3,
        retry_quarantined=True,
        allow_empty_listing=True,
        allow_unlisted=True,
    )
    assert config.options({}) == LoadOptions(True, 3, True, True, True)  # noqa: FBT003 - in their order


@pytest.mark.parametrize(("tag", "refresh"), [("true", True), ("True", True), ("false", False)])
def test_a_tag_of_the_run_asks_for_a_full_refresh(tag: str, *, refresh: bool) -> None:
    """One tag refreshes every table of a run."""
    assert LoadConfig().options({"s3pq/full_refresh": tag}).full_refresh is refresh
