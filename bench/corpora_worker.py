"""A program that loads files into one destination, and judges each by an independent reader.

python -m bench.corpora_worker duckdb
"""

import itertools
import json
import logging
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.corpora_readers import READERS, OtherReaders
from bench.corpora_values import plain, same
from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster.errors import S3ParquetError
from s3pq_dagster.ledger import Status
from s3pq_dagster.loading.plan import LoadOptions, LoadPlan
from s3pq_dagster.loading.table_load import TableLoad
from s3pq_dagster.source.listing import list_prefix
from s3pq_dagster.source.store import Store
from s3pq_dagster.spec import S3ParquetSpec
from s3pq_dagster_tests.destinations.places import PLACES, Place
from s3pq_dagster_tests.malformed.judge import QUARANTINED, REFUSED, RIGHT, WRONG, Verdict
from s3pq_dagster_tests.moto_server import start_moto
from s3pq_dagster_tests.servers import admin_client, use_credentials

UNJUDGED = "loaded, no reader judges"
READABLE = "quarantined, a reader reads it"
CONVERTED = "converted as documented"
BARE = "bare exception"
_BUCKET = "lake"
_OURS = ["_cq_id", "_cq_parent_id", "_s3_key"]
_REASON_CHARACTERS = 400
_FILES_A_PLACE = 100


def main() -> None:
    """Load the files on stdin, one a line, and answer each with a line."""
    logging.disable(logging.WARNING)
    use_credentials()
    endpoint = start_moto(_BUCKET)
    client = admin_client(endpoint)
    spec = S3ParquetSpec(bucket=_BUCKET, region="us-east-1", endpoint_url=endpoint)
    store = Store.open(spec)
    _answer(ready=True)
    with OtherReaders() as readers, closing(_places(sys.argv[1])) as places:
        cases = map(json.loads, sys.stdin)
        for number, case, place in zip(itertools.count(), cases, places, strict=False):
            path = Path(case["path"])
            table = f"t{number}"
            client.put_object(Bucket=_BUCKET, Key=f"{table}/x", Body=path.read_bytes())
            started = time.monotonic()
            load = _load(store, spec, table)
            outcome, detail = _judged(load, place, table, str(path), readers)
            detail = detail[:_REASON_CHARACTERS]
            verdict = Verdict(outcome, detail, 0, time.monotonic() - started)
            _answer(name=str(path), **asdict(verdict))
            client.delete_object(Bucket=_BUCKET, Key=f"{table}/x")


def _places(kind: str) -> Generator[Place, None, None]:
    """Yield a place for each file: a new one now and then, for many tables make any slower."""
    while True:
        with tempfile.TemporaryDirectory() as directory:
            place = PLACES[kind](Path(directory))
            try:
                yield from itertools.repeat(place, _FILES_A_PLACE)
            finally:
                place.discard()


def _answer(**line: Any) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _load(store: Store, spec: S3ParquetSpec, table: str) -> TableLoad:
    listing = list_prefix(store, f"{table}/")
    owner = Owner(table, _BUCKET, f"{table}/")
    plan = LoadPlan(spec=spec, owner=owner, listing=listing, options=LoadOptions())
    log = logging.getLogger("corpora")
    return TableLoad(plan=plan, store=store, log=log, run_id="corpora")


def _judged(
    load: TableLoad, place: Place, table: str, path: str, readers: OtherReaders
) -> tuple[str, str]:
    """Load one file; return the outcome, and what a person wants to know of it."""
    try:
        load.into(place.open())
        (entry,) = place.open().state(load.plan.owner).ledger.frame.rows(named=True)
        if entry["status"] == Status.QUARANTINED:
            able = [name for name in READERS if readers.read(name, path) is not None]
            by = f" (read by {', '.join(able)})" if able else ""
            return READABLE if able else QUARANTINED, f"{entry['reason']}{by}"
        with place.open().read(table, None) as reader:
            got = reader.read_all()
    except S3ParquetError as error:
        return REFUSED, f"{type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001 - which one is the question
        return BARE, f"{type(error).__name__}: {error}"
    return _compared(got, path, readers)


def _compared(got: pa.Table, path: str, readers: OtherReaders) -> tuple[str, str]:
    """Compare a table's rows with those of each reader; one that agrees is enough."""
    outcome, found = UNJUDGED, []
    for name in READERS:
        expected = readers.read(name, path)
        if expected is None:
            continue
        differences = _differences(got, expected)
        if not differences:
            return RIGHT, ""
        if all(_is_variant_as_documented(got, column, path) for column in differences):
            outcome = CONVERTED
        found.append(f"{name}: {next(iter(differences.values()))}")
    if outcome is UNJUDGED and found:
        outcome = WRONG
    return outcome, "; ".join(found)


def _differences(got: pa.Table, expected: pa.Table) -> dict[str, str]:
    """Describe how columns differ, by name; under an empty name what concerns all of them."""
    got = got.drop_columns([n for n in _OURS if n not in expected.column_names])
    if got.num_rows != expected.num_rows or len(got.column_names) != len(expected.column_names):
        return {"": f"{got.shape} instead of {expected.shape}"}
    found = {}
    for index, name in enumerate(expected.column_names):
        if got.column(name).equals(expected.column(index)):
            continue  # much faster, where the types are equal and nothing is NaN
        mine, other = plain(got.column(name)), plain(expected.column(index))
        if not same(mine, other):
            row = next(i for i, _ in enumerate(mine) if not same(mine[i : i + 1], other[i : i + 1]))
            found[name] = f"column {name!r}, row {row}: {mine[row]!r} instead of {other[row]!r}"
    return found


def _is_variant_as_documented(table: pa.Table, column: str, path: str) -> bool:
    """Return whether a column is the parts of a VARIANT, as the file has them.

    Other readers make one value of the parts, so pyarrow says what they are.
    """
    kind = table.schema.field(column).type if column else None
    names = {field.name for field in kind} if kind and pa.types.is_struct(kind) else set()
    if not {"metadata", "value"} <= names <= {"metadata", "value", "typed_value"}:
        return False
    parts = pq.read_table(path, columns=[column]).column(column)
    return same(plain(table.column(column)), plain(parts))


if __name__ == "__main__":
    main()
