"""A component whose sensor asks for a reload: the state is refreshed first."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster.components.utils.project_paths import get_local_state_path

from s3pq_dagster import S3ParquetComponent
from s3pq_dagster.dagster.code_location import NotReloadedError
from s3pq_dagster.dagster.component.state import read_state, refresh_of
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.component.project import Project, attributes_of, definitions, sandbox, write
from s3pq_dagster_tests.proxy import Answer

pytestmark = pytest.mark.filterwarnings(  # of Dagster about itself
    "ignore:.parse_obj_as. is deprecated", "ignore::dagster.BetaWarning"
)
DENIED = Answer(403, b"<Error><Code>AccessDenied</Code></Error>")


def component_of(bucket: Bucket, folder: Path, **more: Any) -> S3ParquetComponent:
    """Return a component of a bucket."""
    attributes = attributes_of(bucket, folder / "lake.duckdb", **more)
    return S3ParquetComponent.from_attributes_dict(attributes=attributes)


def known(component: S3ParquetComponent, root: Path) -> list[str]:
    """Return the tables in the state."""
    path = get_local_state_path(component.defs_state_config.key, root)
    return [table.name for table in read_state(component.source, path)]


def test_the_refresh_finds_new_tables_and_one_that_fails_keeps_the_state(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What S3 says is in the error, which the tick shows."""
    component, root = component_of(bucket, tmp_path), Project.make(tmp_path / "my_project").root
    monkeypatch.syspath_prepend(str(root / "src"))
    refresh = refresh_of(component, root)
    assert refresh is not None
    bucket.put("old/1.parquet", 1)
    refresh()
    bucket.put("new/1.parquet", 1)
    refresh()
    assert known(component, root) == ["new", "old"]
    bucket.proxy.before = lambda _request: DENIED
    with pytest.raises(NotReloadedError, match="AccessDeniedError: "):
        refresh()
    assert known(component, root) == ["new", "old"]


def test_a_state_that_a_sensor_cannot_refresh_is_told(bucket: Bucket, tmp_path: Path) -> None:
    """A versioned state is pinned when a code server starts; a legacy one is found anew then."""
    versioned = component_of(
        bucket, tmp_path, defs_state={"management_type": "VERSIONED_STATE_STORAGE"}
    )
    refresh = refresh_of(versioned, tmp_path)
    assert refresh is not None
    with pytest.raises(NotReloadedError, match="VERSIONED_STATE_STORAGE: run `dg utils refresh"):
        refresh()
    legacy = component_of(
        bucket, tmp_path, defs_state={"management_type": "LEGACY_CODE_SERVER_SNAPSHOTS"}
    )
    assert refresh_of(legacy, tmp_path) is None


@pytest.mark.thorough
def test_the_attribute_reaches_the_sensor(
    bucket: Bucket, database: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tick outside of a code location says that it cannot ask one to reload."""
    monkeypatch.setenv("DAGSTER_IS_DEV_CLI", "1")
    bucket.put("old/1.parquet", 1)
    with sandbox() as made:
        write(made, attributes_of(bucket, database, sensor={"reload_for_new_tables": True}))
        defs = definitions(made)
    bucket.put("new/1.parquet", 1)
    sensor = defs.get_repository_def().get_sensor_def("s3_parquet_sensor")
    with dg.build_sensor_context(instance=instance) as context:
        tick = sensor.evaluate_tick(context)
    assert tick.run_requests
    defs.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance)
    with dg.build_sensor_context(instance=instance, cursor=tick.cursor) as context:
        said = str(sensor.evaluate_tick(context).skip_message)
    why = "reload the code location: this tick knows of no code location"
    assert said.startswith(f"not loaded: not in the definitions yet, {why}: new; ")
