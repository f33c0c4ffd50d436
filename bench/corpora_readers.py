"""Other readers of Parquet, in a process of their own, which a damaged file may end.

python -m bench.corpora_readers
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import duckdb
import polars as pl
import pyarrow as pa

_COMMAND = ("-m", "bench.corpora_readers")
_TABLE = "table.arrow"


class OtherReaders:
    """The readers' process; begun where a file is asked of it, and anew where one has ended it.

    Args:
        command: Python's arguments that start a process which calls :func:`answer`.
    """

    def __init__(self, command: Sequence[str] = _COMMAND) -> None:
        self._command = command
        self._process: subprocess.Popen[str] | None = None
        self._directory = tempfile.TemporaryDirectory()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._directory.cleanup()

    def read(self, name: str, path: str) -> pa.Table | None:
        """Return what a reader finds in a file; ``None`` if that refuses or dies of it."""
        process = self._process = self._process or self._begin()
        assert process.stdin is not None
        assert process.stdout is not None
        answer = Path(self._directory.name, _TABLE)
        process.stdin.write(json.dumps({"name": name, "path": path, "answer": str(answer)}) + "\n")
        process.stdin.flush()
        found = process.stdout.readline()
        if not found:
            self._end()
        if not found or not json.loads(found):
            return None
        return pa.ipc.open_file(answer).read_all()

    def _begin(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *self._command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


def answer(readers: Mapping[str, Callable[[str], pa.Table]]) -> None:
    """Read the files that stdin names, one a line, and answer each with whether it is read."""
    for line in sys.stdin:
        asked = json.loads(line)
        found = _read_by(readers[asked["name"]], asked["path"])
        if found is not None:
            with pa.ipc.new_file(asked["answer"], found.schema) as file:
                file.write_table(found)
        print(json.dumps(found is not None), flush=True)


def _read_by(read: Callable[[str], pa.Table], path: str) -> pa.Table | None:
    """Read a file by a reader; ``None`` if that refuses it."""
    try:
        return read(path)
    except (Exception, pl.exceptions.PanicException):  # noqa: BLE001 - it does not judge then
        return None


def _by_duckdb(path: str) -> pa.Table:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.sql("SELECT * FROM read_parquet(?)", params=[path]).to_arrow_table()


def _by_polars(path: str) -> pa.Table:
    return pl.read_parquet(path, hive_partitioning=False).to_arrow()


READERS = {"duckdb": _by_duckdb, "polars": _by_polars}

if __name__ == "__main__":
    answer(READERS)
