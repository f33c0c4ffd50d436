"""The bench of corpora finds a value that is not the file's, and says nothing of those that are."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.corpora import main, outcomes
from bench.corpora_readers import OtherReaders
from bench.corpora_values import plain, same
from bench.malformed import files_of

MOMENT = datetime(2024, 2, 14, 12, tzinfo=UTC)
ALIKE = {
    "text and its bytes": (pa.array(["ä"]), pa.array(["ä".encode()])),
    "widths": (pa.array([1], pa.int8()), pa.array([1], pa.uint64())),
    "units": (pa.array([1], pa.timestamp("s")), pa.array([10**9], pa.timestamp("ns"))),
    "zones": (
        pa.array([MOMENT], pa.timestamp("us", "UTC")),
        pa.array([MOMENT], pa.timestamp("us", "Europe/Berlin")),
    ),
    "scales": (
        pa.array([Decimal("1.50")], pa.decimal128(4, 2)),
        pa.array([Decimal("1.5")], pa.decimal128(9, 1)),
    ),
    "more digits than DuckDB has": (
        pa.array([Decimal("714967770726.40"), None], pa.decimal256(45, 2)),
        pa.array([714967770726.4, None]),
    ),
    "NaN": (pa.array([float("nan")]), pa.array([float("nan")])),
    "UUIDs": (
        pa.array([UUID(int=7).bytes], pa.uuid()),
        pa.array([UUID(int=7).bytes], pa.binary(16)),
    ),
    "UUIDs as text": (pa.array([UUID(int=7).bytes], pa.uuid()), pa.array([str(UUID(int=7))])),
    "lists": (pa.array([[1], None, []]), pa.array([[1], None, []], pa.large_list(pa.int8()))),
    "maps": (
        pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())),
        pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int8())),
    ),
    "dictionaries": (pa.array(["a", None]).dictionary_encode(), pa.array(["a", None])),
}


@pytest.mark.parametrize(("one", "other"), ALIKE.values(), ids=ALIKE)
def test_what_depends_on_the_reader_is_no_difference(one: pa.Array, other: pa.Array) -> None:
    """Units, widths and encodings differ between readers; the values do not."""
    assert same(plain(one), plain(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array([1, 2]), pa.array([2, 1])),
        (pa.array([[1, 2]]), pa.array([[1], [2]])),
        (pa.array([None], pa.string()), pa.array([""])),
        (pa.array([{"a": 1}]), pa.array([{"a": None}], pa.struct([("a", pa.int64())]))),
        (pa.array([0.0]), pa.array([float("nan")])),
        (pa.array([Decimal("0.41")], pa.decimal256(45, 2)), pa.array([0.4])),
        (pa.array([UUID(int=7).bytes], pa.uuid()), pa.array([str(UUID(int=8))])),
        (pa.array([1], pa.timestamp("us")), pa.array([1], pa.timestamp("ns"))),
    ],
)
def test_another_value_is_a_difference(one: pa.Array, other: pa.Array) -> None:
    """Order, nulls and moments count."""
    assert not same(plain(one), plain(other))


def test_a_folder_without_parquet_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table of zeros would look like success."""
    with pytest.raises(SystemExit, match="2"):
        main(["--corpus", str(tmp_path)])
    assert f"no Parquet files under {tmp_path}" in capsys.readouterr().err


def test_a_corpus_is_what_is_named_so_and_what_fuzzers_made(tmp_path: Path) -> None:
    """Tools add endings of their own, and checksums beside the files."""
    names = ["a.parquet", "b.parq", "c.parquet.encrypted", "fuzzing/d"]
    for name in [*names, "README.md", ".a.parquet.crc"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert files_of(tmp_path) == [tmp_path / name for name in names]


MORTAL = """
import os
from bench.corpora_readers import READERS, answer
answer(READERS | {"mortal": lambda path: os.abort()})
"""


@pytest.mark.thorough
def test_a_reader_that_dies_of_a_file_does_not_judge(tmp_path: Path) -> None:
    """Polars aborts where a damaged file asks for too much memory; the next file is read."""
    good, bad = tmp_path / "a.parquet", tmp_path / "b.parquet"
    pq.write_table(pa.table({"id": [1, 2]}), good)
    bad.write_bytes(b"PAR1 and nothing more PAR1")
    with OtherReaders(["-c", MORTAL]) as readers:
        assert readers.read("mortal", str(good)) is None
        assert readers.read("polars", str(bad)) is None
        found = readers.read("polars", str(good))
    assert found is not None
    assert found.to_pydict() == {"id": [1, 2]}


@pytest.mark.thorough
def test_each_file_has_an_outcome(tmp_path: Path) -> None:
    """A good file, one that a destination cannot hold, and one that is none."""
    pq.write_table(pa.table({"id": [1, 2], "at": [MOMENT, None]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"half": pa.array([1.5], pa.float16())}), tmp_path / "b.parquet")
    (tmp_path / "c.parquet").write_bytes(b"PAR1 and nothing more PAR1")
    found = outcomes("duckdb", sorted(tmp_path.iterdir()))
    assert found == {"right rows": 1, "refused": 1, "quarantined": 1}
