"""Read damaged files and whole corpora, and print a table of the outcomes.

python -m bench.malformed --mutations 10000 --seed 1 --corpus DIR --corpus DIR
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from s3pq_dagster.spec import S3ParquetSpec
from s3pq_dagster_tests.malformed.bombs import BOMBS, BOUND
from s3pq_dagster_tests.malformed.harness import CRASHED, FAILED, HUNG, Result, run_cases
from s3pq_dagster_tests.malformed.judge import QUARANTINED, REFUSED, RIGHT, WRONG

MIB = 1024 * 1024
_CHUNK = 600
_HANG_SECONDS = 300
_COLUMNS = (RIGHT, QUARANTINED, REFUSED, WRONG, CRASHED, HUNG, FAILED)
_ALLOWED = {RIGHT, QUARANTINED, REFUSED}


@dataclass(slots=True)
class Row:
    """The outcomes of one source's files."""

    bound: int
    outcomes: Counter[str] = field(default_factory=Counter)
    peak: int = 0
    excesses: int = 0

    def add(self, result: Result) -> None:
        """Count a result."""
        self.outcomes[result.verdict.outcome] += 1
        self.peak = max(self.peak, result.verdict.peak)
        self.excesses += result.verdict.peak > self.bound

    @property
    def is_right(self) -> bool:
        """Return whether every outcome is allowed and within the memory bound."""
        return not self.excesses and set(self.outcomes) <= _ALLOWED


def main() -> None:
    """Run everything, print the table, and exit with 1 if a promise does not hold."""
    asked = _asked()
    rows: dict[str, Row] = {}
    with asked.log.open("w", encoding="utf-8") as log:
        for source, bound, cases in _sources(asked):
            row = rows[source] = Row(bound)
            for result in _judged(cases, asked.workers):
                row.add(result)
                log.write(f"{source}\t{result.name}\t{result.verdict}\n")
                log.flush()
    print(_table(rows, asked))
    sys.exit(0 if all(row.is_right for row in rows.values()) else 1)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, action="append", default=[])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--log", type=Path, default=Path("/dev/null"), help="a line a file")
    return parser.parse_args()


def _sources(asked: argparse.Namespace) -> Iterator[tuple[str, int, list[dict[str, Any]]]]:
    """Return each source's name, memory bound and cases."""
    numbers = range(asked.first, asked.first + asked.mutations)
    yield "mutations", BOUND, [{"seed": asked.seed, "number": number} for number in numbers]
    yield "bombs", BOUND, [{"bomb": name} for name in BOMBS]
    bound = S3ParquetSpec(bucket="b", region="r").max_decoded_bytes
    for corpus in asked.corpus:
        yield corpus.name, bound, [{"path": str(path)} for path in files_of(corpus)]


def files_of(corpus: Path) -> list[Path]:
    """Find files under a folder that are named as Parquet is, or that fuzzers made.

    Hadoop's checksums beside them, such as ``.a.parquet.crc``, are none.
    """
    return sorted(
        path
        for path in corpus.rglob("*")
        if path.is_file()
        and path.suffix != ".crc"
        and (".parq" in path.name.lower() or "fuzz" in str(path.relative_to(corpus).parent))
    )


def _judged(cases: Sequence[dict[str, Any]], workers: int) -> Iterator[Result]:
    pieces = [cases[start : start + _CHUNK] for start in range(0, len(cases), _CHUNK)]

    def judge(piece: Sequence[dict[str, Any]]) -> list[Result]:
        return list(run_cases(piece, hang_seconds=_HANG_SECONDS))

    with ThreadPoolExecutor(workers) as pool:
        for results in pool.map(judge, pieces):
            yield from results


def _table(rows: dict[str, Row], asked: argparse.Namespace) -> str:
    head = ["source", "files", *_COLUMNS, "peak memory", "bound"]
    lines = [head, ["---"] * len(head)]
    for source, row in rows.items():
        counts = [str(row.outcomes[name]) for name in _COLUMNS]
        sizes = [f"{row.peak / MIB:.0f} MiB", f"{row.bound // MIB} MiB"]
        lines.append([source, str(row.outcomes.total()), *counts, *sizes])
    about = (
        f"pyarrow {pa.__version__}, duckdb {duckdb.__version__}, "
        f"Python {sys.version.split()[0]}, seed {asked.seed}, {datetime.now(UTC):%Y-%m-%d}"
    )
    return "\n".join([*map(_line, lines), "", about])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
