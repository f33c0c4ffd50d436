"""Imported once, in the process that all workers are forked from: what they need is then there.

Dagster, SQLAlchemy, botocore and DuckDB import much on first use, so it is used here, or imported.
None of it starts a thread, which would not survive a fork.
"""

import logging
import os
import tempfile
from importlib import import_module
from importlib.util import find_spec

import boto3
import dagster as dg
import pytest

import s3pq_dagster_tests.crashes.worker  # noqa: F401
from s3pq_dagster_tests.read_once import read_once


@dg.asset
def _nothing() -> None:
    pass


def _use_dagster() -> None:
    os.environ["DAGSTER_DISABLE_TELEMETRY"] = "1"
    logging.disable()
    with tempfile.TemporaryDirectory() as home, dg.DagsterInstance.local_temp(home) as instance:
        definitions = dg.Definitions([_nothing], executor=dg.in_process_executor)
        job = definitions.resolve_implicit_global_asset_job_def()
        job.execute_in_process(instance=instance)
    logging.disable(logging.NOTSET)


read_once(pytest.MonkeyPatch())  # never undone: the workers inherit it
_use_dagster()
boto3.session.Session().client("s3", region_name="us-east-1").close()
for _module in ("pandas", "pyarrow.compute"):  # DuckDB looks for them when it meets Arrow
    if find_spec(_module):
        import_module(_module)
