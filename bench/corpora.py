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


def main(arguments: Sequence[str] | None = None) -> None:
    """Load everything, print the table, and exit with 1 if a promise does not hold."""
    asked, files = _asked(arguments)
    counts = {kind: outcomes(kind, files) for kind in asked.destination or _DESTINATIONS}
    print(f"\n| destination | files | {' | '.join(_COLUMNS)} |")
    print(f"|---|{'--:|' * (len(_COLUMNS) + 1)}")
    for kind, found in counts.items():
        print(f"| {kind} | {len(files)} | {' | '.join(str(found[name]) for name in _COLUMNS)} |")
    versions = f"pyarrow {pa.__version__}, duckdb {duckdb.__version__}, polars {pl.__version__}"
    print(f"\n{versions}, Python {sys.version.split()[0]}")
    sys.exit(any(_BROKEN & set(found) for found in counts.values()))


def _asked(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, list[Path]]:
    parser = argparse.ArgumentParser(
        prog="python -m bench.corpora",
        description="Load whole corpora of Parquet files, each file a table of its own, and "
        "compare every value with what an independent reader finds. Exits with 1 if one is wrong, "
        "or if a load ends in an exception that is none of ours, a crash or a hang.",
    )
    parser.add_argument(
        "--corpus",
        type=Path,
        action="append",
        required=True,
        help="a folder, such as a clone of apache/parquet-testing; may be given again",
    )
    parser.add_argument(
        "--destination",
        choices=_DESTINATIONS,
        action="append",
        help="where to load into, by default into each; may be given again",
    )
    asked = parser.parse_args(arguments)
    found = {corpus: files_of(corpus) for corpus in asked.corpus}
    if empty := [str(corpus) for corpus, files in found.items() if not files]:
        parser.error(f"there are no Parquet files under {', '.join(empty)}")
    return asked, [path for files in found.values() for path in files]


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
