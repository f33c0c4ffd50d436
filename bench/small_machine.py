"""A large object in one row group, loaded where there is little memory; needs root and Linux.

python -m bench.small_machine --memory 700 --object 480
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from s3pq_dagster.spec import MIB
from s3pq_dagster_tests.moto_server import start_moto
from s3pq_dagster_tests.servers import ACCESS_KEY, REGION, SECRET_KEY, admin_client

_COLUMNS = 8
_BUCKET, _TABLE = "lake", "t"
_CONTROLS = Path("/sys/fs/cgroup")
_SYNC = ["dagster", "asset", "materialize", "-m", "s3pq_dagster.definitions", "--select", "*"]
_MEASURED = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
sys.exit(code)
"""
"""A program that runs another and prints the MiB it took; a child of ours would begin with ours."""


def main() -> None:
    """Load the object in a control group, and print how it ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", type=int, default=700, help="MiB of memory there are")
    parser.add_argument("--object", type=int, default=458, help="MiB of the object")
    parser.add_argument("--destination", default="duckdb:///lake.duckdb", help="a URL")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="s3pq-bench-") as directory:
        endpoint = start_moto(_BUCKET)
        _put(endpoint, Path(directory) / "1.parquet", asked.object * MIB)
        group = _group(asked.memory * MIB)
        try:
            print(_load(endpoint, Path(directory), group, asked.destination))
        finally:
            group.rmdir()


def _put(endpoint: str, path: Path, size: int) -> None:
    rows = size // (8 * _COLUMNS)
    drawn = np.random.default_rng(1)
    columns = {f"c{number}": drawn.integers(0, 2**62, rows) for number in range(_COLUMNS)}
    pq.write_table(
        pa.table(columns), path, row_group_size=rows, use_dictionary=False, compression="none"
    )
    client = admin_client(endpoint)
    client.upload_file(str(path), _BUCKET, f"{_TABLE}/1.parquet")
    client.close()
    path.unlink()


def _group(limit: int) -> Path:
    """Make a control group with a limit of memory, in whichever version is mounted."""
    is_second = (_CONTROLS / "cgroup.controllers").exists()
    group = (_CONTROLS if is_second else _CONTROLS / "memory") / f"s3pq-{os.getpid()}"
    group.mkdir()
    name = "memory.max" if is_second else "memory.limit_in_bytes"
    (group / name).write_text(str(limit))
    return group


def _load(endpoint: str, home: Path, group: Path, destination: str) -> str:
    environment = os.environ | {
        "DAGSTER_HOME": str(home),
        "S3PQ_BUCKET": _BUCKET,
        "S3PQ_REGION": REGION,
        "S3PQ_ENDPOINT_URL": endpoint,
        "S3PQ_DESTINATION": destination,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    }
    started = time.monotonic()
    python = [sys.executable]
    entering = f'echo $$ > {group}/cgroup.procs; exec "$@"'
    ended = subprocess.run(
        ["/bin/sh", "-c", entering, "sh", *python, "-c", _MEASURED, *python, "-m", *_SYNC],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    peak = ended.stdout.split()[-1:]
    warned = "memory_short" in ended.stderr
    return (
        f"exit code {ended.returncode} after {time.monotonic() - started:.0f} s, "
        f"{''.join(peak)} MiB at most, {'warned' if warned else 'not warned'}"
    )


if __name__ == "__main__":
    main()
