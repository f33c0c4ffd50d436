"""Running the package's default code location from a shell."""

import os
import subprocess
import sys
from pathlib import Path

from s3pq_dagster_tests.buckets import Bucket

DAGSTER = [sys.executable, "-m", "dagster"]


def environment(bucket: Bucket, home: Path, **variables: str) -> dict[str, str]:
    """Return the environment variables that configure the default code location."""
    home.mkdir(parents=True, exist_ok=True)
    config = home / "dagster.yaml"
    if not config.exists():
        config.write_text("telemetry:\n  enabled: false\nnux:\n  enabled: false\n")
    return {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "S3PQ_BUCKET": bucket.name,
        "S3PQ_REGION": "us-east-1",
        "S3PQ_ENDPOINT_URL": bucket.proxy.endpoint,
        "S3PQ_DESTINATION": f"duckdb:///{home}/lake.duckdb",
        **variables,
    }


def dagster(
    *arguments: str, cwd: Path, environ: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run the ``dagster`` command line and return what it printed."""
    return subprocess.run(
        [*DAGSTER, *arguments],
        cwd=cwd,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def headless_sync(bucket: Bucket, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Materialize every asset from the command line, as a cron job would."""
    return dagster(
        *("asset", "materialize", "-m", "s3pq_dagster.definitions", "--select", "*"),
        cwd=home,
        environ=environment(bucket, home, **variables),
    )
