"""Imported once, in the process that all workers are forked from: what they need is then there.

Dagster, SQLAlchemy, botocore and DuckDB import much on first use, so it is used here, or imported.
None of it starts a thread, which would not survive a fork.
"""

import functools
import logging
import os
import tempfile
from importlib import import_module
from importlib.util import find_spec

import boto3
import dagster as dg
from alembic.util import pyfiles
from botocore.loaders import JSONFileLoader

import s3pq_dagster_tests.crashes.worker  # noqa: F401
from s3pq_dagster_tests.alembic_once import load_once


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


_read = functools.cache(JSONFileLoader().load_file)
# Each worker would read the same again: Alembic's revisions, and what botocore knows of S3.
setattr(pyfiles, "load_module_py", load_once)  # noqa: B010 - a function of another signature
setattr(JSONFileLoader, "load_file", lambda _self, path: _read(path))  # noqa: B010 - likewise
_use_dagster()
boto3.session.Session().client("s3", region_name="us-east-1").close()
for _module in ("pandas", "pyarrow.compute"):  # DuckDB looks for them when it meets Arrow
    if find_spec(_module):
        import_module(_module)
