"""airbyte-source-s3, reading only: its records are counted and thrown away."""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from bench.contenders.task import Task, contend


def load(task: Task) -> dict[str, int]:
    """Run airbyte-source-s3's command with one stream per table."""
    directory = Path(task.directory)
    streams = [
        {
            "name": table,
            "globs": [f"{table}/*.parquet"],
            "format": {"filetype": "parquet"},
            "validation_policy": "Emit Record",
        }
        for table in task.tables
    ]
    config = {
        "bucket": task.bucket,
        "endpoint": task.endpoint,
        "aws_access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
        "region_name": task.region,
        "streams": streams,
    }
    (directory / "config.json").write_text(json.dumps(config))
    command = [str(Path(sys.executable).parent / "source-s3")]
    given = ["--config", str(directory / "config.json")]
    found = subprocess.run([*command, "discover", *given], check=True, capture_output=True)
    catalogs = [json.loads(line) for line in found.stdout.splitlines() if b'"CATALOG"' in line]
    chosen = [
        {"stream": stream, "sync_mode": "full_refresh", "destination_sync_mode": "append"}
        for stream in catalogs[0]["catalog"]["streams"]
    ]
    (directory / "catalog.json").write_text(json.dumps({"streams": chosen}))
    rows = 0
    with subprocess.Popen(
        [*command, "read", *given, "--catalog", str(directory / "catalog.json")],
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        rows = sum(b'"RECORD"' in line[:60] for line in process.stdout)
    return {"rows": rows}


if __name__ == "__main__":
    contend(f"airbyte-source-s3 {version('airbyte-source-s3')}", load)
