"""Time each destination against its own fastest loader, with the same rows from the same files.

A table goes to standard output. Both write the same columns, ours among them, from Parquet files
on the local disk; what PostgreSQL's COPY takes is prepared beforehand and not timed. Each contender
runs in a process of its own, in turns, so that a busy moment falls on both.
"""

import argparse
import multiprocessing
import platform
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from bench.rows import mixed
from s3pq_dagster.destinations.table_state import Commit, Owner
from s3pq_dagster.ledger import Entry, Status
from s3pq_dagster.loading.background_reader import read_in_background
from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster.reading.added_columns import RowSpan, add_columns, schema_with_added_columns
from s3pq_dagster_tests.destinations.places import PLACES, Place
from s3pq_dagster_tests.destinations.places.postgres import PostgresPlace

_OWNER = Owner("t", "bucket", "t/")


def main() -> int:
    """Run the chosen destinations."""
    parser = argparse.ArgumentParser(prog="python -m bench.destinations", description=__doc__)
    parser.add_argument("--rows", type=int, default=8_000_000)
    parser.add_argument("--objects", type=int, default=8)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--destination", choices=PLACES, action="append")
    asked = parser.parse_args()
    kinds = asked.destination or list(PLACES)
    with tempfile.TemporaryDirectory(prefix="s3pq-") as directory:
        source = Path(directory) / "source"
        _make(source, asked.rows, asked.objects)
        print(f"{asked.rows:,} rows, 14 columns, {asked.objects} objects, ", end="")
        print(f"{sum(f.stat().st_size for f in source.iterdir()) / 1e6:.0f} MB of Parquet\n")
        print("| destination | its own loader | seconds | ours, seconds | ratio | peak MB, ours |")
        print("|---|---|---:|---:|---:|---:|", flush=True)
        if "postgres" in kinds:
            _prepare_postgres(source)
        for kind in kinds:
            _print(kind, source, asked.times)
    names = ("duckdb", "deltalake", "psycopg", "pgpq", "pyarrow")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    print(f"\n{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {versions}")
    return 0


def _make(source: Path, rows: int, objects: int) -> None:
    """Write objects of twelve mixed columns plus the added ones, as the reader returns them."""
    source.mkdir()
    drawn = np.random.default_rng(1)
    for number in range(objects):
        count = rows // objects
        batch = mixed(drawn, number * count, count)
        found = ObjectMeta(f"t/{number:03}.parquet", 1, f"e{number}", datetime.now(UTC))
        schema = schema_with_added_columns(batch.schema, found.key, add_cq_ids=True)
        batch = add_columns(batch, [RowSpan(found, 0, count)], "bucket", schema)
        # Nothing but nulls, which is no work for anybody.
        column = schema.get_field_index("_cq_parent_id")
        batch = batch.remove_column(column)
        pq.write_table(pa.table(batch), source / f"{number:03}.parquet", row_group_size=131_072)


def _ours(kind: str, source: Path, directory: Path) -> None:
    place = PLACES[kind](directory)
    try:
        _load(place, source)
    finally:
        place.discard()


def _load(place: Place, source: Path) -> None:
    files = sorted(source.iterdir())
    schema = pq.read_schema(files[0]).remove_metadata()
    with place.open().write(_OWNER, run_id="run", append=False, refresh=False) as writer:
        for file in files:
            opened = pq.ParquetFile(file)
            entry = Entry(
                ObjectMeta(f"t/{file.name}", 1, file.stem, datetime.now(UTC)),
                Status.LOADED,
                opened.metadata.num_rows,
            )
            writer.commit(
                read_in_background(
                    pa.RecordBatchReader.from_batches(schema, opened.iter_batches(65_536))
                ),
                schema_key=f"t/{file.name}",
                seal=partial(Commit, [entry], None, None),
            )


def _duckdb(source: Path, directory: Path) -> None:
    import duckdb  # noqa: PLC0415 - each contender imports its own

    with duckdb.connect(str(directory / "own.duckdb")) as connection:
        connection.execute("SET enable_progress_bar = false")
        connection.execute(f"CREATE TABLE t AS FROM read_parquet('{source}/*.parquet')")


def _parquet(source: Path, directory: Path) -> None:
    table = ds.dataset(source).to_table()
    options = ds.ParquetFileFormat().make_write_options(compression="zstd")
    ds.write_dataset(table, directory / "own", format="parquet", file_options=options)


def _delta(source: Path, directory: Path) -> None:
    from deltalake import write_deltalake  # noqa: PLC0415 - each contender imports its own

    table = ds.dataset(source).to_table()
    column = table.schema.get_field_index("_cq_id")
    ids = table.column(column).cast(pa.binary(16)).cast(pa.binary())
    write_deltalake(str(directory / "own"), table.set_column(column, "_cq_id", ids))


def _prepare_postgres(source: Path) -> None:
    """Have the server write the file that its COPY reads, in its fastest format."""
    with tempfile.TemporaryDirectory(prefix="s3pq-") as directory:
        place = PostgresPlace(Path(directory))
        _load(place, source)
        columns = place.run(
            "SELECT string_agg(quote_ident(attname) || ' ' || format_type(atttypid, atttypmod), "
            "', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0"
        )
        (source.parent / "columns.sql").write_text(str(columns[0][0]), encoding="utf-8")
        place.run(f"COPY t TO '{_shared(source)}' (FORMAT binary)")
        place.discard()


def _shared(source: Path) -> Path:
    """Make a file that the server's user may read and write."""
    source.parent.chmod(0o777)
    return source.parent / "rows.copy"


def _postgres(source: Path, directory: Path) -> None:
    place = PostgresPlace(directory)
    place.run(f"CREATE TABLE own ({(source.parent / 'columns.sql').read_text('utf-8')})")
    place.run(f"COPY own FROM '{_shared(source)}' (FORMAT binary)")
    place.discard()


_THEIRS: dict[str, tuple[str, Callable[[Path, Path], None]]] = {
    "duckdb": ("`CREATE TABLE … AS FROM read_parquet`", _duckdb),
    "postgres": ("`COPY … FROM` a file, in PostgreSQL's binary format", _postgres),
    "delta": ("`write_deltalake` of the files read into memory", _delta),
    "parquet": ("`pyarrow.dataset.write_dataset` of the files read into memory", _parquet),
}


def _timed(do: Callable[..., None], *arguments: object) -> tuple[float, float]:
    """Run in a child process; return seconds and peak memory in MB."""
    with tempfile.TemporaryDirectory(prefix="s3pq-") as directory:
        receiver, sender = multiprocessing.get_context("spawn").Pipe(duplex=False)
        process = multiprocessing.get_context("spawn").Process(
            target=_measure, args=(sender, do, *arguments, Path(directory))
        )
        process.start()
        sender.close()
        found: tuple[float, float] = receiver.recv()
        process.join()
        shutil.rmtree(directory)
        Path(directory).mkdir()
    return found


def _measure(said: object, do: Callable[..., None], *arguments: object) -> None:
    started = time.monotonic()
    do(*arguments)
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    said.send((seconds, peak))  # type: ignore[attr-defined]


def _print(kind: str, source: Path, times: int) -> None:
    name, theirs = _THEIRS[kind]
    found = [(_timed(theirs, source), _timed(_ours, kind, source)) for _ in range(times)]
    own = statistics.median(seconds for (seconds, _), _ in found)
    ours = statistics.median(seconds for _, (seconds, _) in found)
    peak = max(peak for _, (_, peak) in found)
    print(
        f"| {kind} | {name} | {own:.1f} | {ours:.1f} | {ours / own:.2f} | {peak:.0f} |", flush=True
    )


if __name__ == "__main__":
    sys.exit(main())
