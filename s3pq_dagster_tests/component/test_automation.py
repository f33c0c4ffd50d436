"""Conditions and policies of tables, from YAML and from Python."""

from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from s3pq_dagster import S3ParquetTableProps, S3ParquetTranslator
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.component.project import attributes_of, definitions, sandbox, write
from s3pq_dagster_tests.lake import Lake

pytestmark = pytest.mark.filterwarnings(  # of Dagster about itself
    "ignore:.parse_obj_as. is deprecated", "ignore::dagster.BetaWarning"
)
POLICY = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=26))
CONDITION = dg.AutomationCondition.on_cron("@daily")
TRANSLATION = {
    "freshness_policy": "{{ dg.FreshnessPolicy.time_window("
    "fail_window=datetime.timedelta(hours=26)) }}",
    "automation_condition": "{{ dg.AutomationCondition.on_cron('@daily') }}",
}


class Watched(S3ParquetTranslator):
    """A translator that adds both."""

    def get_asset_spec(self, props: S3ParquetTableProps) -> dg.AssetSpec:
        """Describe a table."""
        spec = super().get_asset_spec(props)
        return spec.replace_attributes(freshness_policy=POLICY, automation_condition=CONDITION)


def test_yaml_and_a_translator_say_the_same(
    bucket: Bucket,
    database: Path,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A table in an op of its own, and one in shards, have the condition and the policy."""
    monkeypatch.setenv("DAGSTER_IS_DEV_CLI", "1")
    for table in ("a", "b"):
        bucket.put(f"{table}/1.parquet", 1)
    with sandbox() as made:
        write(made, attributes_of(bucket, database, translation=TRANSLATION, shards={"b": 2}))
        in_yaml = definitions(made)
    lake = Lake(bucket, instance, database, options={"translator": Watched(), "shards": {"b": 2}})
    for defs in (in_yaml, lake.definitions()):
        specs = defs.resolve_all_asset_specs()
        assert [spec.freshness_policy for spec in specs] == [POLICY, POLICY]
        assert [spec.automation_condition for spec in specs] == [CONDITION, CONDITION]
