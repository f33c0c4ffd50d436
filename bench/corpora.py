"""Load whole corpora of Parquet files, each file a table, and compare what is stored.

python -m bench.corpora --corpus DIR --corpus DIR
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa

from bench.corpora_worker import BARE, CONVERTED, READABLE, UNJUDGED
from bench.malformed import files_of
from s3pq_dagster_tests.malformed.harness import CRASHED, FAILED, HUNG, run_cases
from s3pq_dagster_tests.malformed.judge import QUARANTINED, REFUSED, RIGHT, WRONG

_DESTINATIONS = ("duckdb", "postgres", "delta")
_HANG_SECONDS = 300
_TOLD_EVERY = 50
"""Files between two lines that say how far it is."""
_COLUMNS = (
    RIGHT,
    CONVERTED,
    UNJUDGED,
    REFUSED,
    QUARANTINED,
    READABLE,
    WRONG,
    BARE,
    CRASHED,
    HUNG,
    FAILED,
)
_BROKEN = {WRONG, BARE, CRASHED, HUNG, FAILED}
_SHOWN = _BROKEN | {REFUSED, READABLE, UNJUDGED}


def main() -> None:
    """Load everything, print the table, and exit with 1 if a promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, action="append", required=True)
    parser.add_argument("--destination", choices=_DESTINATIONS, action="append")
    asked = parser.parse_args()
    files = [path for corpus in asked.corpus for path in files_of(corpus)]
    counts = {kind: outcomes(kind, files) for kind in asked.destination or _DESTINATIONS}
    print(f"\n| destination | files | {' | '.join(_COLUMNS)} |")
    print(f"|---|{'--:|' * (len(_COLUMNS) + 1)}")
    for kind, found in counts.items():
        print(f"| {kind} | {len(files)} | {' | '.join(str(found[name]) for name in _COLUMNS)} |")
    versions = f"pyarrow {pa.__version__}, duckdb {duckdb.__version__}, polars {pl.__version__}"
    print(f"\n{versions}, Python {sys.version.split()[0]}")
    sys.exit(any(_BROKEN & set(found) for found in counts.values()))


def outcomes(destination: str, files: Sequence[Path]) -> Counter[str]:
    """Load files into one destination and count the outcomes; print each that is not right."""
    found: Counter[str] = Counter()
    cases = [{"path": str(path)} for path in files]
    command = ["-m", "bench.corpora_worker", destination]
    for result in run_cases(cases, hang_seconds=_HANG_SECONDS, command=command):
        found[result.verdict.outcome] += 1
        if found.total() % _TOLD_EVERY == 0:
            print(f"{destination}: {found.total()} of {len(files)} files", file=sys.stderr)
        if result.verdict.outcome in _SHOWN:
            name = Path(result.case["path"]).name
            print(
                f"{destination}\t{result.verdict.outcome}\t{name}\t{result.verdict.detail}",
                flush=True,
            )
    return found


if __name__ == "__main__":
    main()
